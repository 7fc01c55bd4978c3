//! Compiles the `.proto` files without a `protoc` on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/sealwire/v1/delivery.proto",
        "proto/sealwire/v1/admin.proto",
        "proto/sealwire/v1/node.proto",
        "proto/envoy/secret.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // prost knows no `debug_redact`: a derived Debug would print the key's bytes into a log.
        .skip_debug([
            "sealwire.v1.Bundle",
            "envoy.service.secret.v3.Any",
            "envoy.service.secret.v3.DataSource",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
