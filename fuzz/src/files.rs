//! Media files that people hand to `dark-tower join`.

use std::io::Cursor;

use bytes::Bytes;
use client::file::ivf::IvfWriter;
use client::file::{Codec, parse_clip};

/// A clip that is read holds no more than the file, begins at a key frame, and its times go on. Written as IVF and read again it is the same.
pub fn media_file(data: &[u8]) {
    let Some((fps, file)) = data.split_first() else { return };
    let Ok(clip) = parse_clip(Bytes::copy_from_slice(file), Some(f64::from(*fps))) else { return };
    assert!(clip.samples.first().is_some_and(|sample| sample.is_key));
    let keys = clip.samples.iter().filter(|sample| sample.is_key).count();
    let payload: usize = clip.samples.iter().map(|sample| sample.payload.len()).sum();
    // A key frame of H.264 that has no parameter sets of its own is given those before it.
    let most = if clip.codec == Codec::H264 { file.len() * (keys + 1) } else { file.len() };
    assert!(payload <= most, "{payload} bytes of {} in {}", clip.codec.name(), file.len());
    assert!(clip.samples.is_sorted_by_key(|sample| sample.at), "time goes on");
    if matches!(clip.codec, Codec::Vp8 | Codec::Vp9 | Codec::Av1) {
        let mut writer = IvfWriter::new(Cursor::new(Vec::new()), clip.codec, clip.width, clip.height).expect("memory takes it");
        for sample in &clip.samples {
            writer.write(u64::try_from(sample.at.as_micros()).unwrap_or(u64::MAX), &sample.payload).expect("memory takes it");
        }
        let written = writer.finish().expect("memory takes it").into_inner();
        let again = parse_clip(written.into(), None).expect("what is written can be read");
        assert_eq!(again.codec, clip.codec);
        assert!(again.samples.iter().map(|sample| &sample.payload).eq(clip.samples.iter().map(|sample| &sample.payload)));
    }
}
