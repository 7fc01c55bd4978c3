//! Certificates: how they come in, what they must satisfy, and where handshakes find them.

pub(crate) mod backoff;
pub(crate) mod prove;
pub(crate) mod receive;
pub(crate) mod resolver;
pub(crate) mod validate;

pub(crate) use resolver::{CertReader, CertWriter, live};
