//! HTTP/2 written by hand, frame by frame: for saying what no library would say.

/// What every connection begins with, and an empty SETTINGS.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The kinds of frames.
pub const DATA: u8 = 0;
/// Opens a stream.
pub const HEADERS: u8 = 1;
/// Says what is more urgent; it means nothing any more.
pub const PRIORITY: u8 = 2;
/// Ends a stream at once.
pub const RESET: u8 = 3;
/// Says how to speak.
pub const SETTINGS: u8 = 4;
/// Asks for an answer.
pub const PING: u8 = 6;
/// Ends the connection.
pub const GOAWAY: u8 = 7;
/// Lets the other side say more.
pub const WINDOW: u8 = 8;
/// Goes on with headers.
pub const CONTINUATION: u8 = 9;

/// The flag of the last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The flag of the last frame of headers.
pub const END_HEADERS: u8 = 4;

/// The bytes in front of every frame.
pub const HEAD_BYTES: usize = 9;

/// Writes one frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = vec![high, middle, low, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Returns the number of the client's stream of this index.
pub fn stream(index: usize) -> u32 {
    u32::try_from(index).ok().and_then(|i| i.checked_mul(2)).map_or(1, |i| i + 1)
}

/// Writes one header out, without any compression.
pub fn header(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(length(name.len()));
    bytes.extend(name.as_bytes());
    bytes.extend(length(value.len()));
    bytes.extend(value);
    bytes
}

/// Writes an integer of seven bits and more, as HPACK does.
fn length(mut length: usize) -> Vec<u8> {
    const LOW_MAX: usize = 127;
    let byte = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
    if length < LOW_MAX {
        return vec![byte(length)];
    }
    let mut bytes = vec![byte(LOW_MAX)];
    length -= LOW_MAX;
    while length > LOW_MAX {
        bytes.push(byte(length % 128) | 0x80);
        length /= 128;
    }
    bytes.push(byte(length));
    bytes
}

/// Writes the headers of a call, with these further ones.
pub fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut block = request("POST", path, "application/grpc");
    for (name, value) in more {
        block.extend(header(name, value.as_bytes()));
    }
    block
}

/// Writes the headers of a request.
pub fn request(method: &str, path: &str, content: &str) -> Vec<u8> {
    let all = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "tengyun"),
        (":path", path),
        ("content-type", content),
        ("te", "trailers"),
    ];
    all.iter().flat_map(|(name, value)| header(name, value.as_bytes())).collect()
}

/// A frame that was read: its kind, its flags, its stream and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// The bytes that follow.
    pub length: usize,
}

/// Reads what stands in front of a frame.
pub fn head(bytes: [u8; HEAD_BYTES]) -> Head {
    let [high, middle, low, kind, flags, s0, s1, s2, s3] = bytes;
    let length = u32::from_be_bytes([0, high, middle, low]);
    Head {
        kind,
        flags,
        stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        length: usize::try_from(length).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_headers_are_written_as_the_standards_say() {
        assert_eq!(frame(PING, 0, 0, &[7; 8])[..9], [0, 0, 8, 6, 0, 0, 0, 0, 0]);
        assert_eq!(&PREFACE[PREFACE.len() - 9..], frame(SETTINGS, 0, 0, &[]));
        assert_eq!(header("a", b"b"), [0, 1, b'a', 1, b'b']);
        // RFC 7541, C.1.2: 1337 in five bits is 31, 154, 10; in seven bits it is 127, 186, 9.
        assert_eq!(length(1337), [127, 186, 9]);
        assert_eq!(length(127), [127, 0]);
        assert_eq!((stream(0), stream(3)), (1, 7));
    }

    #[test]
    fn the_head_of_a_frame_is_read_back() {
        let bytes = frame(HEADERS, END_HEADERS, 5, &[0; 300]);
        let read = head(bytes[..HEAD_BYTES].try_into().unwrap());
        assert_eq!(read, Head { kind: HEADERS, flags: END_HEADERS, stream: 5, length: 300 });
    }
}
