//! `proto/vectors/signaling.json`: bytes and meaning of messages, as every implementation has to see them.
//!
//! Two readers that do not know of each other look at each vector: the generated code that the servers use, and
//! reflection over the contract, which also reads the JSON.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use proto::v1;
use serde_json::Value;

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/signaling.json"));

fn vectors(list: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(VECTORS).expect("the vectors are JSON");
    let vectors = file[list].as_array().expect("each list is an array").clone();
    assert!(!vectors.is_empty(), "{list} has vectors");
    vectors
}

fn bytes(vector: &Value) -> Vec<u8> {
    let hex = vector["bytes"].as_str().expect("bytes are hex");
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn type_name(vector: &Value) -> &str {
    vector["type"].as_str().expect("a full name")
}

/// The contract as the build script sees it.
fn contract() -> DescriptorPool {
    let files = ["darktower/v1/signaling.proto", "darktower/v1/media.proto"];
    let descriptors = protox::compile(files, [env!("CARGO_MANIFEST_DIR")]).expect("the contract compiles");
    DescriptorPool::from_file_descriptor_set(descriptors).expect("the contract is whole")
}

/// The message that `json` describes, as bytes.
fn from_json(contract: &DescriptorPool, vector: &Value) -> Vec<u8> {
    let descriptor = contract.get_message_by_name(type_name(vector)).expect("a message of the contract");
    let message = DynamicMessage::deserialize(descriptor, &vector["json"]).unwrap_or_else(|error| panic!("{}: {error}", vector["name"]));
    message.encode_to_vec()
}

/// What the generated code makes of `bytes`, encoded again.
fn through_generated_code(type_name: &str, bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
        M::decode(bytes).map(|message| message.encode_to_vec())
    }
    match type_name {
        "darktower.v1.ClientMessage" => again::<v1::ClientMessage>(bytes),
        "darktower.v1.ServerMessage" => again::<v1::ServerMessage>(bytes),
        "darktower.v1.MediaClientMessage" => again::<v1::MediaClientMessage>(bytes),
        "darktower.v1.MediaServerMessage" => again::<v1::MediaServerMessage>(bytes),
        other => panic!("{other} is not known to this test"),
    }
}

#[test]
fn messages_have_these_bytes() {
    let contract = contract();
    for vector in vectors("messages") {
        let raw = bytes(&vector);
        assert_eq!(from_json(&contract, &vector), raw, "{}: JSON and bytes differ", vector["name"]);
        assert_eq!(through_generated_code(type_name(&vector), &raw), Ok(raw), "{}", vector["name"]);
    }
}

/// A newer peer's additions are passed over, not stumbled over.
#[test]
fn unknown_fields_are_ignored() {
    let contract = contract();
    for vector in vectors("lenient") {
        let known = from_json(&contract, &vector);
        assert_eq!(through_generated_code(type_name(&vector), &bytes(&vector)), Ok(known), "{}", vector["name"]);
    }
}

#[test]
fn broken_bytes_are_errors() {
    for vector in vectors("invalid") {
        assert!(through_generated_code(type_name(&vector), &bytes(&vector)).is_err(), "{}", vector["name"]);
    }
}

/// A field of the wrong value and one read off by one look alike to a type checker.
#[test]
fn generated_fields_carry_the_contracts_meaning() {
    let vector = vectors("messages").into_iter().find(|vector| vector["json"]["join"]["joinToken"].is_string()).expect("a join request");
    let message = v1::ClientMessage::decode(&bytes(&vector)[..]).expect("decodes");
    let Some(v1::client_message::Body::Join(join)) = message.body else { panic!("{message:?} is no join request") };
    assert_eq!((message.version, message.request_id), (proto::VERSION, 7));
    assert_eq!((join.join_token.as_str(), join.resume_token.as_str(), join.auto_subscribe), ("join.token.here", "resume", true));
    assert_eq!(join.chat_after_sequence, u64::MAX);
}
