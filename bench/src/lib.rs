//! What the benchmarks share: a prober that makes full handshakes and remembers what each saw, samples and their
//! percentiles, sessions in a process of their own, the servers that ours is measured beside, and what they are measured with.

pub mod cpu;
pub mod descriptors;
pub mod fanout;
pub mod handshake;
mod loader_tls;
mod material;
pub mod prober;
pub mod push;
pub mod sample;
pub mod server;
pub mod sessions;
pub mod token;
pub mod windows;
