//! What every decoder of hostile bytes must hold, as one function per decoder.
//!
//! In: any bytes. Out: nothing; a broken promise is a panic. `make fuzz` feeds these functions with libFuzzer, and
//! `tests/replay` with the committed corpus and mutations of it, so that what a fuzzer once found stays found on any toolchain.

#![warn(missing_docs)]

mod encryption;
mod files;
mod frames;
mod http;
mod hub;
mod meeting;
mod messages;
mod tokens;
mod words;

pub use encryption::{sealed_chat, secret_link, sframe};
pub use files::media_file;
pub use frames::{frame_header, frame_reader, length_prefix};
pub use http::{http1_head, http3_frames, json_body, request_words, webhook_target};
pub use hub::media_hub;
pub use meeting::meeting;
pub use messages::{client_message, cluster_message, media_message, websocket};
pub use tokens::{signed_token, token};
pub use words::{certificate, config, name};

/// A target's name and what it does with bytes; the name is also that of its corpus folder and its fuzzer.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 23] = [
    ("certificate", certificate),
    ("client_message", client_message),
    ("cluster_message", cluster_message),
    ("config", config),
    ("frame_header", frame_header),
    ("frame_reader", frame_reader),
    ("http1_head", http1_head),
    ("http3_frames", http3_frames),
    ("json_body", json_body),
    ("length_prefix", length_prefix),
    ("media_file", media_file),
    ("media_hub", media_hub),
    ("media_message", media_message),
    ("meeting", meeting),
    ("name", name),
    ("request_words", request_words),
    ("sealed_chat", sealed_chat),
    ("secret_link", secret_link),
    ("sframe", sframe),
    ("signed_token", signed_token),
    ("token", token),
    ("webhook_target", webhook_target),
    ("websocket", websocket),
];
