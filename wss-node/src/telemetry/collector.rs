//! How a collector is spoken to: OTLP by gRPC or by HTTP, with TLS of our own provider.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use sealwire_proto::anchors::{AnchorError, Anchors};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use crate::config::{OtlpProtocol, TelemetryConfig};

/// Why no collector can be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectorError {
    #[error("telemetry.endpoint: \"{url}\" {detail}; expected a URL such as http://127.0.0.1:4317")]
    Endpoint { url: String, detail: String },
    #[error("telemetry.roots: {0}")]
    Roots(#[from] AnchorError),
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

/// Makes exporters that share one connection.
#[derive(Debug)]
pub(super) enum Collector<'a> {
    Grpc { config: &'a TelemetryConfig, channel: Channel, metadata: MetadataMap },
    Http { config: &'a TelemetryConfig, client: reqwest::blocking::Client, base: String },
}

impl<'a> Collector<'a> {
    /// For the endpoint of the configuration. Must be called within a runtime, but not from one of its tasks: the
    /// client for HTTP has a thread of its own and waits for it.
    pub(super) fn new(config: &'a TelemetryConfig, url: &str) -> Result<Self, CollectorError> {
        Ok(match config.protocol {
            OtlpProtocol::Grpc => Self::Grpc {
                config,
                channel: channel(config, url)?,
                metadata: MetadataMap::from_headers(headers(config)),
            },
            OtlpProtocol::Http => {
                let client = reqwest::blocking::Client::builder()
                    .tls_backend_preconfigured(tls(config)?)
                    .redirect(reqwest::redirect::Policy::none())
                    .timeout(config.timeout)
                    .build()?;
                Self::Http { config, client, base: url.trim_end_matches('/').to_owned() }
            }
        })
    }

    pub(super) fn spans(&self) -> Result<SpanExporter, CollectorError> {
        Ok(match self {
            Self::Grpc { config, channel, metadata } => SpanExporter::builder()
                .with_tonic()
                .with_channel(channel.clone())
                .with_metadata(metadata.clone())
                .with_timeout(config.timeout)
                .build()?,
            Self::Http { config, client, base } => SpanExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(format!("{base}/v1/traces"))
                .with_headers(named(config))
                .with_timeout(config.timeout)
                .build()?,
        })
    }

    pub(super) fn metrics(&self) -> Result<MetricExporter, CollectorError> {
        Ok(match self {
            Self::Grpc { config, channel, metadata } => MetricExporter::builder()
                .with_tonic()
                .with_channel(channel.clone())
                .with_metadata(metadata.clone())
                .with_timeout(config.timeout)
                .build()?,
            Self::Http { config, client, base } => MetricExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(format!("{base}/v1/metrics"))
                .with_headers(named(config))
                .with_timeout(config.timeout)
                .build()?,
        })
    }

    pub(super) fn logs(&self) -> Result<LogExporter, CollectorError> {
        Ok(match self {
            Self::Grpc { config, channel, metadata } => LogExporter::builder()
                .with_tonic()
                .with_channel(channel.clone())
                .with_metadata(metadata.clone())
                .with_timeout(config.timeout)
                .build()?,
            Self::Http { config, client, base } => LogExporter::builder()
                .with_http()
                .with_http_client(client.clone())
                .with_endpoint(format!("{base}/v1/logs"))
                .with_headers(named(config))
                .with_timeout(config.timeout)
                .build()?,
        })
    }
}

/// The configuration has checked each.
fn headers(config: &TelemetryConfig) -> HeaderMap {
    let pairs = config.headers.iter().filter_map(|(name, value)| {
        let mut value: HeaderValue = value.parse().ok()?;
        value.set_sensitive(true);
        Some((name.parse::<HeaderName>().ok()?, value))
    });
    pairs.collect()
}

fn named(config: &TelemetryConfig) -> HashMap<String, String> {
    config.headers.clone().into_iter().collect()
}

fn tls(config: &TelemetryConfig) -> Result<ClientConfig, CollectorError> {
    let anchors = match &config.roots {
        Some(path) => Anchors::from_pem_file(path)?,
        None => Anchors::platform(),
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Ok(ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore { roots: anchors.as_slice().to_vec() })
        .with_no_client_auth())
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Dials when there is something to send, and again after the connection broke.
fn channel(config: &TelemetryConfig, url: &str) -> Result<Channel, CollectorError> {
    let wrong = |detail: String| CollectorError::Endpoint { url: url.to_owned(), detail };
    let origin: Uri = url.parse().map_err(|error: http::uri::InvalidUri| wrong(error.to_string()))?;
    let secure = origin.scheme() == Some(&Scheme::HTTPS);
    let authority = origin.authority().ok_or_else(|| wrong("names no host".to_owned()))?;
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let tls = if secure {
        let mut tls = tls(config)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(host.clone()).map_err(|error| wrong(error.to_string()))?;
        Some((TlsConnector::from(Arc::new(tls)), name))
    } else {
        None
    };
    let connector = tower::service_fn(move |_: Uri| {
        let (host, tls) = (host.clone(), tls.clone());
        async move {
            let tcp = TcpStream::connect((host, port)).await?;
            let wire: Box<dyn Wire> = match tls {
                Some((connector, name)) => Box::new(connector.connect(name, tcp).await?),
                None => Box::new(tcp),
            };
            Ok::<_, io::Error>(TokioIo::new(wire))
        }
    });
    // The connector does TLS itself, for tonic would need a feature and another set of roots.
    let plain = format!("http://{authority}");
    let endpoint = Endpoint::from_shared(plain).map_err(|error| wrong(error.to_string()))?;
    let endpoint = endpoint.origin(origin).connect_timeout(config.timeout).timeout(config.timeout);
    Ok(endpoint.connect_with_connector_lazy(connector))
}
