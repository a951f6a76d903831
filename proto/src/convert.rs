//! Between messages and words. In: what came off the wire. Out: words, or which field is wrong and what would be right.

use common_core::media::{LAYERS_MAX, Layer, MediaStream, StreamType, SubscriptionOptions, VideoShape};
use common_core::{Code, ParticipantId, StreamId};
use thiserror::Error;

use crate::v1;

/// Longest codec name and layer name, in bytes: WebCodecs strings stay under 32.
const SHORT_TEXT_BYTES_MAX: usize = 64;

/// A field that is not what the contract asks for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// Path of the field in its message.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl FieldError {
    /// A problem with `field`.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

/// Parses an id of any kind.
pub fn id<T: std::str::FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, FieldError> {
    text.parse().map_err(|error: T::Err| FieldError::new(field, error.to_string()))
}

fn short_text(field: &'static str, text: String) -> Result<String, FieldError> {
    if text.len() > SHORT_TEXT_BYTES_MAX {
        return Err(FieldError::new(field, format!("{} bytes are over the limit of {SHORT_TEXT_BYTES_MAX}", text.len())));
    }
    Ok(text)
}

/// A published source, from its id, type and metadata.
pub fn media_stream(
    participant_id: ParticipantId,
    stream_id: &str,
    stream_type: i32,
    metadata: Option<v1::StreamMetadata>,
) -> Result<MediaStream, FieldError> {
    let stream_id: StreamId = id("stream_id", stream_id)?;
    let stream_type = match v1::StreamType::try_from(stream_type) {
        Ok(v1::StreamType::Audio) => StreamType::Audio,
        Ok(v1::StreamType::VideoCamera) => StreamType::VideoCamera,
        Ok(v1::StreamType::VideoScreen) => StreamType::VideoScreen,
        Err(_) => return Err(FieldError::new("stream_type", format!("{stream_type} is none of AUDIO, VIDEO_CAMERA, VIDEO_SCREEN"))),
    };
    let metadata = metadata.ok_or_else(|| FieldError::new("metadata", "is missing; at least the codec is needed"))?;
    if metadata.codec.is_empty() {
        return Err(FieldError::new("metadata.codec", "is empty; a name such as VP9 or Opus is needed"));
    }
    let video = metadata.video.map(|video| video_shape(stream_id, video)).transpose()?;
    if stream_type.is_audio() && video.is_some() {
        return Err(FieldError::new("metadata.video", "a media stream of type AUDIO has none"));
    }
    Ok(MediaStream {
        stream_id,
        participant_id,
        stream_type,
        codec: short_text("metadata.codec", metadata.codec)?,
        max_bitrate: metadata.max_bitrate,
        video,
        sample_rate: metadata.sample_rate,
        channels: metadata.channels,
    })
}

fn video_shape(media_stream: StreamId, video: v1::VideoMetadata) -> Result<VideoShape, FieldError> {
    const LAYERS: &str = "metadata.video.simulcast_layers";
    if video.simulcast_layers.len() > LAYERS_MAX {
        return Err(FieldError::new(LAYERS, format!("{} layers are over the limit of {LAYERS_MAX}", video.simulcast_layers.len())));
    }
    let mut layers: Vec<Layer> = Vec::with_capacity(video.simulcast_layers.len());
    for layer in video.simulcast_layers {
        let stream_id: StreamId = id("metadata.video.simulcast_layers.stream_id", &layer.stream_id)?;
        if stream_id == media_stream || layers.iter().any(|other| other.stream_id == stream_id) {
            return Err(FieldError::new(LAYERS, "each layer needs a stream_id of its own, other than the media stream's"));
        }
        layers.push(Layer {
            layer_id: short_text("metadata.video.simulcast_layers.layer_id", layer.layer_id)?,
            width: layer.width,
            height: layer.height,
            max_bitrate: layer.max_bitrate,
            stream_id,
        });
    }
    Ok(VideoShape { width: video.width, height: video.height, framerate: video.framerate, layers })
}

impl From<&MediaStream> for v1::MediaStream {
    fn from(stream: &MediaStream) -> Self {
        Self {
            stream_id: stream.stream_id.to_string(),
            stream_type: match stream.stream_type {
                StreamType::Audio => v1::StreamType::Audio,
                StreamType::VideoCamera => v1::StreamType::VideoCamera,
                StreamType::VideoScreen => v1::StreamType::VideoScreen,
            }
            .into(),
            metadata: Some(v1::StreamMetadata {
                codec: stream.codec.clone(),
                max_bitrate: stream.max_bitrate,
                video: stream.video.as_ref().map(|video| v1::VideoMetadata {
                    width: video.width,
                    height: video.height,
                    framerate: video.framerate,
                    simulcast_layers: video
                        .layers
                        .iter()
                        .map(|layer| v1::SimulcastLayer {
                            layer_id: layer.layer_id.clone(),
                            width: layer.width,
                            height: layer.height,
                            max_bitrate: layer.max_bitrate,
                            stream_id: layer.stream_id.to_string(),
                        })
                        .collect(),
                }),
                sample_rate: stream.sample_rate,
                channels: stream.channels,
            }),
            participant_id: stream.participant_id.to_string(),
        }
    }
}

/// Options as a subscriber states them; absent ones are the defaults.
pub fn subscription_options(options: Option<v1::SubscriptionOptions>) -> Result<SubscriptionOptions, FieldError> {
    let options = options.unwrap_or_default();
    Ok(SubscriptionOptions {
        preferred_layer: short_text("options.preferred_layer", options.preferred_layer)?,
        max_bitrate: options.max_bitrate,
        max_latency_ms: options.max_latency_ms,
        priority: options.priority,
    })
}

impl From<&SubscriptionOptions> for v1::SubscriptionOptions {
    fn from(options: &SubscriptionOptions) -> Self {
        Self {
            preferred_layer: options.preferred_layer.clone(),
            max_bitrate: options.max_bitrate,
            max_latency_ms: options.max_latency_ms,
            priority: options.priority,
        }
    }
}

impl From<Code> for v1::ErrorCode {
    fn from(code: Code) -> Self {
        i32::try_from(code.number()).ok().and_then(|number| Self::try_from(number).ok()).unwrap_or(Self::Unknown)
    }
}

impl From<v1::ErrorCode> for Code {
    fn from(code: v1::ErrorCode) -> Self {
        u32::try_from(i32::from(code)).ok().and_then(Code::from_number).unwrap_or(Code::Normal)
    }
}

/// An error message with `details` left empty.
pub fn error_message(code: Code, message: impl Into<String>) -> v1::ErrorMessage {
    v1::ErrorMessage { code: v1::ErrorCode::from(code).into(), message: message.into(), details: Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two lists of codes are one.
    #[test]
    fn codes_are_the_contracts() {
        for code in Code::ALL {
            let wire = v1::ErrorCode::from(code);
            assert_eq!(Code::from(wire), code);
            if code != Code::Normal {
                assert_eq!(wire.as_str_name(), code.name());
            }
        }
    }

    #[test]
    fn layers_need_ids_of_their_own() {
        let participant = ParticipantId::from_bytes([1; 16]);
        let stream = StreamId::from_bytes([2; 16]);
        let layer = |id: StreamId| v1::SimulcastLayer { layer_id: "l".into(), stream_id: id.to_string(), ..Default::default() };
        let publish = |layers: Vec<v1::SimulcastLayer>| {
            let video = v1::VideoMetadata { simulcast_layers: layers, ..Default::default() };
            let metadata = v1::StreamMetadata { codec: "VP9".into(), video: Some(video), ..Default::default() };
            media_stream(participant, &stream.to_string(), v1::StreamType::VideoCamera.into(), Some(metadata))
        };
        let (low, high) = (StreamId::from_bytes([3; 16]), StreamId::from_bytes([4; 16]));
        assert_eq!(publish(vec![layer(low), layer(high)]).map(|stream| stream.frame_ids()), Ok(vec![low, high]));
        assert!(publish(vec![layer(low), layer(low)]).is_err());
        assert!(publish(vec![layer(stream)]).is_err());
        assert_eq!(publish(vec![]).map(|it| it.frame_ids()), Ok(vec![stream]));
    }
}
