//! Envoy's secret discovery service, generated from `proto/envoy/secret.proto`.

pub use generated::*;

/// What an `Any` of a discovery response holds here.
pub const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
mod generated {
    tonic::include_proto!("envoy.service.secret.v3");

    // By hand, because prost's own would print a private key.
    impl std::fmt::Debug for Any {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Any").field("type_url", &self.type_url).field("value", &"<secret>").finish()
        }
    }

    impl std::fmt::Debug for DataSource {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("DataSource(<secret>)")
        }
    }

    // As with bundles: copies inside the buffers of HTTP/2 cannot be reached from here.
    impl Drop for Any {
        fn drop(&mut self) {
            zeroize::Zeroize::zeroize(&mut self.value);
        }
    }

    impl Drop for DataSource {
        fn drop(&mut self) {
            zeroize::Zeroize::zeroize(&mut self.inline_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let source = DataSource { inline_bytes: b"hush".to_vec() };
        let any = Any { type_url: "t".to_owned(), value: b"hush".to_vec() };
        let text = format!(
            "{source:?} {any:?} {:?}",
            DiscoveryResponse { resources: vec![any.clone()], ..Default::default() }
        );
        assert!(text.contains("<secret>") && !text.contains("hush") && !text.contains("104, 117"), "{text}");
    }
}
