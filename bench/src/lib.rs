//! What the benchmarks share: a prober that makes full handshakes and remembers what each saw, samples and their
//! percentiles, sessions in a process of their own, the servers that ours is measured beside, and what they are measured with.

pub mod fanout;
pub mod prober;
pub mod push;
pub mod sample;
pub mod sessions;
pub mod windows;
