//! A real Envoy that asks the agent for its certificate.

use std::net::SocketAddr;
use std::process::Command;

use crate::process::Process;
use crate::tools;
use crate::world::World;

/// Which dialect of xDS it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xds {
    /// State of the world.
    StreamSecrets,
    /// Incremental.
    DeltaSecrets,
}

/// Where it listens.
#[must_use]
pub fn address(world: &World) -> SocketAddr {
    (world.address, 10443).into()
}

/// Starts it as client `id`, which serves the secret "web". `None` if it is not installed (never in CI).
#[must_use]
pub fn start(world: &World, id: &str, how: Xds) -> Option<Process> {
    let program = tools::find("envoy/envoy/_bin/envoy")?;
    let (address, socket) = (address(world), world.delivery_socket());
    let kind = if how == Xds::StreamSecrets { "GRPC" } else { "DELTA_GRPC" };
    // The same as in docs/operations.md, with an echo behind it.
    let text = format!(
        r#"
node: {{ id: {id}, cluster: test }}
static_resources:
  listeners:
  - name: tls
    address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs:
            - name: web
              sds_config:
                resource_api_version: V3
                api_config_source:
                  api_type: {kind}
                  transport_api_version: V3
                  grpc_services: [{{ envoy_grpc: {{ cluster_name: sealwire }} }}]
      filters:
      - name: envoy.filters.network.echo
        typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo }}
  clusters:
  - name: sealwire
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: sealwire
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ pipe: {{ path: "{socket}" }} }} }} }}] }}]
"#,
        ip = address.ip(),
        port = address.port(),
        socket = socket.display(),
    );
    let file = world.write(&format!("{id}.yaml"), &text);
    let mut command = Command::new(program);
    command.arg("--config-path").arg(file).args([
        "--disable-hot-restart",
        "--concurrency",
        "1",
        "-l",
        "info",
    ]);
    Some(Process::start("envoy", &mut command))
}
