//! Compiles the client protocol and the server API without a `protoc` on the machine, and gives their types a JSON form.

use std::error::Error;

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tonic_prost_build::Builder;

/// Messages with a `oneof`, and one that is a word or an object: their JSON is written by hand
/// (`src/wire/json/envelope.rs`, `src/api/expect.rs`).
const BY_HAND: [&str; 4] =
    ["sealwire.client.Command", "sealwire.client.Reply", "sealwire.client.Push", "sealwire.server.v1.Expect"];

/// They carry tokens, signatures or headers: their `Debug` is written by hand.
const SECRET: [&str; 5] =
    ["ConnectRequest", "RefreshRequest", "SubscribeRequest", "SubRefreshRequest", "TrackBatch"];

/// Fields that are written even if they are not set: SDKs read them without a default, and 0 is an answer.
const ALWAYS: [&str; 15] = [
    "PresenceStatsResult.num_clients",
    "PresenceStatsResult.num_users",
    "PresenceResult.presence",
    "HistoryResult.publications",
    "HistoryResult.offset",
    "HistoryResult.epoch",
    "ChannelsResult.channels",
    "MapReadStateResult.entries",
    "MapReadStreamResult.entries",
    "MapStatsResult.num_keys",
    "MapClearResult.num_keys",
    "SubscribeResult.sessions",
    "UnsubscribeResult.sessions",
    "DisconnectResult.sessions",
    "RefreshResult.sessions",
];

fn main() -> Result<(), Box<dyn Error>> {
    const CLIENT: (&str, &str) = ("proto", "client.proto");
    const SERVER: (&str, &str) = ("../proto/proto", "sealwire/server/v1/server.proto");
    for (directory, file) in [CLIENT, SERVER] {
        println!("cargo::rerun-if-changed={directory}/{file}");
    }
    let client = protox::compile([CLIENT.1], [CLIENT.0])?;
    with_json(builder(), &client)
        .build_client(false)
        .build_server(false)
        .skip_debug(SECRET.map(|message| format!("sealwire.client.{message}")))
        .compile_fds(client)?;
    let server = protox::compile([SERVER.1], [SERVER.0])?;
    with_json(builder(), &server).compile_fds(server)?;
    Ok(())
}

fn builder() -> Builder {
    // Sorted maps: the same message always gives the same bytes.
    tonic_prost_build::configure().bytes(".").btree_map(".")
}

fn with_json(mut build: Builder, descriptors: &FileDescriptorSet) -> Builder {
    for (package, message) in
        descriptors.file.iter().flat_map(|file| file.message_type.iter().map(|it| (file.package(), it)))
    {
        let name = format!("{package}.{}", message.name());
        if BY_HAND.contains(&name.as_str()) {
            continue;
        }
        let path = format!(".{name}");
        build = build
            .type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(&path, "#[serde(default)]");
        for field in &message.field {
            build = build.field_attribute(format!("{path}.{}", field.name()), form(package, message, field));
        }
    }
    build
}

/// How a field is written and read in JSON.
fn form(package: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let json = "crate::wire::json::fields";
    let is_message = field.r#type() == Type::Message;
    let entry =
        message.nested_type.iter().find(|entry| field.type_name().ends_with(&format!(".{}", entry.name())));
    let read = match entry {
        Some(entry) if entry.field.iter().any(|part| part.r#type() == Type::Message) => "object_map",
        None if BY_HAND.iter().any(|name| field.type_name() == format!(".{name}")) => "nullable",
        None if is_message && field.label() == Label::Repeated => "objects",
        None if is_message => "object",
        None if field.r#type() == Type::Bytes => {
            return format!("#[serde(with = \"{json}::raw\", skip_serializing_if = \"{json}::is_default\")]");
        }
        _ => "nullable",
    };
    let read = format!("deserialize_with = \"{json}::{read}\"");
    let name = format!("{}.{}", message.name(), field.name());
    // The client protocol's own results of history and presence leave out what is not set.
    let always = package == "sealwire.server.v1" || message.name() == "PresenceStatsResult";
    if always && ALWAYS.contains(&name.as_str()) {
        return format!("#[serde({read})]");
    }
    format!("#[serde({read}, skip_serializing_if = \"{json}::is_default\")]")
}
