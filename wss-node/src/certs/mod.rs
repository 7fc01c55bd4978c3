//! Certificates: how they come in, what they must satisfy, and where handshakes find them.

pub(crate) mod backoff;
pub(crate) mod pairing;
mod prepared;
mod proof;
pub(crate) mod prove;
pub(crate) mod receive;
pub(crate) mod resolver;
mod served;
mod shadow;
mod staple;
pub(crate) mod thread;
mod trust;
pub(crate) mod validate;

pub(crate) use resolver::{CertReader, CertWriter, live};
pub(crate) use served::Served;
