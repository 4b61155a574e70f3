//! A picture as a browser writes it: PNG of 8 bits a channel, not interlaced.

use std::collections::BTreeMap;
use std::io::Read as _;

/// What of a picture is asked.
pub(crate) struct Picture {
    /// Pixels across.
    pub(crate) width: usize,
    /// Pixels down.
    pub(crate) height: usize,
    counts: BTreeMap<[u8; 3], u32>,
}

impl Picture {
    /// Decodes a PNG.
    pub(crate) fn read(file: &[u8]) -> Self {
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n", "a PNG");
        let number = |at: usize| {
            let bytes = file[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_be_bytes(bytes)).expect("it fits")
        };
        let (width, height) = (number(16), number(20));
        let channels = match (&file[24..29], file[25]) {
            ([8, _, 0, 0, 0], 2) => 3,
            ([8, _, 0, 0, 0], 6) => 4,
            (kind, _) => panic!("pictures of the kind {kind:?} are not read"),
        };
        let (mut at, mut packed) = (8, Vec::new());
        while at < file.len() {
            let (length, kind) = (number(at), &file[at + 4..at + 8]);
            if kind == b"IDAT" {
                packed.extend(&file[at + 8..at + 8 + length]);
            }
            at += length + 12;
        }
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).expect("whole data");
        assert_eq!(bytes.len(), height * (width * channels + 1), "all rows are there");
        let mut counts = BTreeMap::new();
        let mut above = vec![0; width * channels];
        for row in bytes.chunks_exact(width * channels + 1) {
            above = plain(row, &above, channels);
            for pixel in above.chunks_exact(channels) {
                *counts.entry([pixel[0], pixel[1], pixel[2]]).or_default() += 1;
            }
        }
        Self { width, height, counts }
    }

    /// Returns how many colours there are.
    pub(crate) fn colours(&self) -> usize {
        self.counts.len()
    }

    /// Returns the share of pixels of a colour.
    pub(crate) fn share(&self, colour: [u8; 3]) -> f64 {
        let all: u32 = self.counts.values().sum();
        f64::from(self.counts.get(&colour).copied().unwrap_or(0)) / f64::from(all)
    }
}

/// Undoes the filter of a row.
fn plain(row: &[u8], above: &[u8], channels: usize) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(above.len());
    for (at, byte) in row[1..].iter().enumerate() {
        let left = at.checked_sub(channels);
        let (a, c) = (left.map_or(0, |l| plain[l]), left.map_or(0, |l| above[l]));
        let b = above[at];
        let foretold = match row[0] {
            0 => 0,
            1 => a,
            2 => b,
            3 => a.midpoint(b),
            4 => paeth(a, b, c),
            filter => panic!("there is no filter {filter}"),
        };
        plain.push(byte.wrapping_add(foretold));
    }
    plain
}

/// The neighbour that is nearest to left plus above less the one between.
fn paeth(a: u8, b: u8, c: u8) -> u8 {
    let [wide_a, wide_b, wide_c] = [a, b, c].map(i16::from);
    let middle = wide_a + wide_b - wide_c;
    let far = |neighbour: i16| (middle - neighbour).abs();
    if far(wide_a) <= far(wide_b) && far(wide_a) <= far(wide_c) {
        a
    } else if far(wide_b) <= far(wide_c) {
        b
    } else {
        c
    }
}
