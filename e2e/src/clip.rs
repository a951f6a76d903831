//! Real encoded pictures and sound: made by ffmpeg, taken apart here, and judged by ffprobe.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use ogg::PacketReader;
use serde_json::Value;
use tokio::process::Command;

/// Length of a clip, in seconds.
pub const SECONDS: u32 = 6;
/// Pictures a second.
pub const FRAMERATE: u32 = 25;
/// Pictures from one key frame to the next: a second.
pub const GROUP_PICTURES: usize = FRAMERATE as usize;
/// Width and height of the picture.
pub const SIZE: (u64, u64) = (320, 180);
/// An IVF file begins with this many bytes of header.
const IVF_HEADER_BYTES: usize = 32;
/// Before each frame: its length (4 bytes, little-endian) and its time (8 bytes).
const IVF_FRAME_HEADER_BYTES: usize = 12;
/// OpusHead and OpusTags stand before the first packet of sound (RFC 7845 section 3).
const OPUS_HEADER_PACKETS: usize = 2;

/// Makes a moving picture: VP9 in IVF, a key frame each second.
pub async fn make_picture(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("picture.ivf");
    let source = format!("testsrc2=size={}x{}:rate={FRAMERATE}:duration={SECONDS}", SIZE.0, SIZE.1);
    let group = GROUP_PICTURES.to_string();
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", &source, "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "400k"]);
    // Without alternate references each packet is one picture to be shown.
    command.args(["-g", &group, "-keyint_min", &group, "-lag-in-frames", "0", "-auto-alt-ref", "0"]).arg(&path);
    run(command).await?;
    Ok(path)
}

/// Makes a sweeping tone: Opus in Ogg, packets of 20 ms.
pub async fn make_sound(folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join("sound.ogg");
    let source = format!("aevalsrc=0.4*sin(2*PI*t*(300+100*t)):sample_rate=48000:duration={SECONDS}");
    let mut command = ffmpeg();
    command.args(["-f", "lavfi", "-i", &source, "-c:a", "libopus", "-b:a", "48k", "-frame_duration", "20"]).arg(&path);
    run(command).await?;
    Ok(path)
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]);
    command
}

async fn run(mut command: Command) -> anyhow::Result<Vec<u8>> {
    let name = command.as_std().get_program().to_owned();
    let output = command.kill_on_drop(true).output().await.with_context(|| format!("{name:?} is needed; `make test` installs it"))?;
    ensure!(output.status.success(), "{name:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

/// The frames of an IVF file, in order.
pub fn frames_of_ivf(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path)?;
    ensure!(bytes.len() >= IVF_HEADER_BYTES && bytes.starts_with(b"DKIF"), "{} is no IVF file", path.display());
    let mut rest = &bytes[IVF_HEADER_BYTES..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(IVF_FRAME_HEADER_BYTES).context("a frame header is cut off")?;
        let length = u32::from_le_bytes(header[..4].try_into()?);
        let (frame, after) = after.split_at_checked(usize::try_from(length)?).context("a frame is cut off")?;
        frames.push(frame.to_vec());
        rest = after;
    }
    Ok(frames)
}

/// The packets of sound of an Ogg Opus file, in order.
pub fn packets_of_ogg(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut reader = PacketReader::new(File::open(path)?);
    let mut packets = Vec::new();
    while let Some(packet) = reader.read_packet()? {
        packets.push(packet.data);
    }
    ensure!(packets.len() >= OPUS_HEADER_PACKETS && packets[0].starts_with(b"OpusHead"), "{} is no Ogg Opus file", path.display());
    packets.drain(..OPUS_HEADER_PACKETS);
    Ok(packets)
}

/// Where `part` begins in `whole`, if it stands there in one piece.
pub fn position_of(part: &[Vec<u8>], whole: &[Vec<u8>]) -> Option<usize> {
    if part.is_empty() {
        return None;
    }
    whole.windows(part.len()).position(|window| window == part)
}

/// What ffprobe reads of a file.
#[derive(Debug)]
pub struct Probe {
    /// Such as `vp9`.
    pub codec: String,
    /// Width and height; 0 for sound.
    pub size: (u64, u64),
    /// Frames that it could decode, or packets.
    pub frames: u64,
    /// In seconds.
    pub duration: f64,
}

/// Lets ffprobe read and decode the whole file.
pub async fn probe(path: &Path) -> anyhow::Result<Probe> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,width,height,nb_read_frames,duration"]);
    command.args(["-show_entries", "format=duration", "-of", "json"]).arg(path);
    let answer: Value = serde_json::from_slice(&run(command).await?)?;
    let stream = &answer["streams"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Probe {
        codec: text(&stream["codec_name"]),
        size: (stream["width"].as_u64().unwrap_or_default(), stream["height"].as_u64().unwrap_or_default()),
        frames: text(&stream["nb_read_frames"]).parse().context("ffprobe counts no frames")?,
        duration: text(&answer["format"]["duration"]).parse().context("ffprobe tells no duration")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the end-to-end test judges others by must itself be right.
    #[tokio::test]
    async fn clips_are_made_taken_apart_and_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let picture = make_picture(folder.path()).await.expect("ffmpeg makes a picture");
        let sound = make_sound(folder.path()).await.expect("ffmpeg makes sound");
        let frames = frames_of_ivf(&picture).expect("IVF");
        assert_eq!(frames.len(), (SECONDS * FRAMERATE) as usize);
        let packets = packets_of_ogg(&sound).expect("Ogg");
        assert!((SECONDS * 50..SECONDS * 50 + 3).contains(&u32::try_from(packets.len()).expect("few")), "{}", packets.len());
        assert_eq!(position_of(&frames[25..], &frames), Some(25));
        assert_eq!(position_of(&[packets[0].clone(), packets[2].clone()], &packets), None);
        let probe = probe(&picture).await.expect("ffprobe reads it");
        assert_eq!((probe.codec.as_str(), probe.size, probe.frames), ("vp9", SIZE, u64::from(SECONDS * FRAMERATE)));
    }
}
