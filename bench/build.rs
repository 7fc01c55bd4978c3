//! Compiles the trimmed API of Envoy's secret discovery without a `protoc` on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let file = "proto/sds.proto";
    println!("cargo::rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        // They carry keys.
        .skip_debug(
            ["Secret", "TlsCertificate", "DataSource"].map(|name| format!("envoy.service.secret.v3.{name}")),
        )
        .compile_fds(descriptors)?;
    Ok(())
}
