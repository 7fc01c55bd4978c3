//! Compiles the client protocol without a `protoc` on the machine, and gives its types a JSON form.

use std::error::Error;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};

/// Messages with a `oneof`: their JSON is written by hand (`src/wire/json/envelope.rs`).
const ENVELOPES: [&str; 3] = ["Command", "Reply", "Push"];

/// They carry tokens, signatures or headers: their `Debug` is written by hand.
const SECRET: [&str; 5] =
    ["ConnectRequest", "RefreshRequest", "SubscribeRequest", "SubRefreshRequest", "TrackBatch"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto/client.proto");
    let descriptors = protox::compile(["proto/client.proto"], ["proto"])?;
    let mut build = tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        // Sorted: the same message always gives the same bytes.
        .btree_map(".")
        .skip_debug(SECRET.map(|message| format!("sealwire.client.{message}")));
    for message in descriptors.file.iter().flat_map(|file| &file.message_type) {
        if ENVELOPES.contains(&message.name()) {
            continue;
        }
        let path = format!(".sealwire.client.{}", message.name());
        build = build
            .type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(&path, "#[serde(default)]");
        for field in &message.field {
            build = build.field_attribute(format!("{path}.{}", field.name()), form(message, field));
        }
    }
    build.compile_fds(descriptors)?;
    Ok(())
}

/// How a field is written and read in JSON.
fn form(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let json = "crate::wire::json::fields";
    let is_message = field.r#type() == Type::Message;
    let entry =
        message.nested_type.iter().find(|entry| field.type_name().ends_with(&format!(".{}", entry.name())));
    let read = match entry {
        Some(entry) if entry.field.iter().any(|part| part.r#type() == Type::Message) => "object_map",
        None if is_message && field.label() == Label::Repeated => "objects",
        None if is_message => "object",
        None if field.r#type() == Type::Bytes => {
            return format!("#[serde(with = \"{json}::raw\", skip_serializing_if = \"{json}::is_default\")]");
        }
        _ => "nullable",
    };
    let read = format!("deserialize_with = \"{json}::{read}\"");
    // SDKs read these two without a default.
    if message.name() == "PresenceStatsResult" {
        return format!("#[serde({read})]");
    }
    format!("#[serde({read}, skip_serializing_if = \"{json}::is_default\")]")
}
