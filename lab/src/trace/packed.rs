//! Files as publishers pack them: `.gz`, and `.tar.gz` with one file in it, are read as what is in them.
//! What a file is its first bytes say, not its name. It never holds more than a buffer of it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

/// The most bytes that one file may unpack to: ten times the largest public file, so that a small one
/// that unpacks without end is refused.
const UNPACKED_BYTES_MAX: u64 = 256 * 1024 * 1024 * 1024;
/// What every gzip file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// A block of a tar file: its header, and what sizes are rounded up to.
const BLOCK: usize = 512;
/// Entries before the file in an archive: folders and attributes.
const ENTRIES_MAX: usize = 16;

/// Opens a file for reading what is in it.
pub(crate) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path)?);
    if !file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(file));
    }
    let unpacked = Bounded { inner: MultiGzDecoder::new(file), left: UNPACKED_BYTES_MAX };
    let mut unpacked = BufReader::with_capacity(64 * 1024, unpacked);
    let mut begin = Vec::with_capacity(BLOCK);
    unpacked.by_ref().take(512).read_to_end(&mut begin)?;
    let archive = has_archive(&begin);
    let mut unpacked = io::Cursor::new(begin).chain(unpacked);
    if !archive {
        return Ok(Box::new(unpacked));
    }
    let bytes = first_file(&mut unpacked)?;
    Ok(Box::new(Entry { inner: unpacked, left: bytes }))
}

/// Returns a name without the ending that says how the file is packed.
pub(crate) fn plain(name: &str) -> &str {
    let end = name.len().saturating_sub(3);
    match name.get(end..) {
        Some(gz) if gz.eq_ignore_ascii_case(".gz") => &name[..end],
        Some(_) | None => name,
    }
}

/// A gzip stream that ends with an error where it breaks or passes the bound.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let broken = |e: io::Error| io::Error::new(e.kind(), format!("its gzip is broken: {e}"));
        let read = self.inner.read(buffer).map_err(broken)?;
        let left = self.left.checked_sub(u64::try_from(read).unwrap_or(u64::MAX));
        self.left = left.ok_or_else(|| {
            let gib = UNPACKED_BYTES_MAX / (1024 * 1024 * 1024);
            io::Error::other(format!("it unpacks to more than {gib} GiB"))
        })?;
        Ok(read)
    }
}

/// The bytes of one file of an archive; an archive that ends before it does is an error.
struct Entry<R> {
    inner: R,
    left: u64,
}

impl<R: BufRead> Read for Entry<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let count = there.len().min(buffer.len());
        buffer[..count].copy_from_slice(&there[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Entry<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let there = self.inner.fill_buf()?;
        if there.is_empty() {
            let cut = "its archive ends within the file";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&there[..there.len().min(most)])
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        self.inner.consume(count);
    }
}

fn has_archive(begin: &[u8]) -> bool {
    begin.get(257..262) == Some(b"ustar")
}

/// Goes to the first plain file of an archive and returns its size.
fn first_file(archive: &mut impl Read) -> io::Result<u64> {
    for _ in 0..ENTRIES_MAX {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header)?;
        let size = has_archive(&header).then(|| size(&header[124..136])).flatten();
        let size = size.ok_or_else(|| io::Error::other("its archive has a broken header"))?;
        if matches!(header[156], b'0' | 0) {
            return Ok(size);
        }
        let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
        let padded = size.div_ceil(block).saturating_mul(block);
        io::copy(&mut archive.by_ref().take(padded), &mut io::sink())?;
    }
    Err(io::Error::other("its archive holds no file"))
}

/// Parses a size: octal digits, or from 8 GiB on a number whose first bit is set.
fn size(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        return Some(field[4..].iter().fold(0, |sum: u64, byte| (sum << 8) | u64::from(*byte)));
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(bytes)?;
        let mut text = String::new();
        open(file.path())?.read_to_string(&mut text)?;
        Ok(text)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    fn entry(kind: u8, size: &[u8], content: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[124..124 + size.len()].copy_from_slice(size);
        block[156] = kind;
        block[257..262].copy_from_slice(b"ustar");
        block.extend(content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }

    #[test]
    fn what_is_packed_is_read_as_what_is_in_it() {
        assert_eq!(read(b"plain").unwrap(), "plain");
        assert_eq!(read(&gzip(b"packed")).unwrap(), "packed");
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(&two).unwrap(), "one two");
        let archive = [entry(b'5', b"0", b""), entry(b'0', b"00000000004\0", b"file")].concat();
        assert_eq!(read(&gzip(&archive)).unwrap(), "file");
        let wide = entry(0, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], b"file");
        assert_eq!(read(&gzip(&wide)).unwrap(), "file");
    }

    #[test]
    fn what_is_cut_or_broken_is_said() {
        let whole = gzip("a line\n".repeat(1000).as_bytes());
        let cut = read(&whole[..whole.len() / 2]).unwrap_err().to_string();
        assert!(cut.contains("its gzip is broken"), "{cut}");
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        assert!(read(&damaged).unwrap_err().to_string().contains("its gzip is broken"));
        let short = read(&gzip(&entry(b'0', b"2000", b"too little"))).unwrap_err().to_string();
        assert!(short.contains("ends within the file"), "{short}");
        let broken = read(&gzip(&entry(b'0', b"xyz", b""))).unwrap_err().to_string();
        assert!(broken.contains("broken header"), "{broken}");
    }

    #[test]
    fn a_stream_that_passes_its_bound_is_refused() {
        let mut bounded = Bounded { inner: io::repeat(0), left: 100_000 };
        let error = io::copy(&mut bounded, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("more than 256 GiB"), "{error}");
    }

    #[test]
    fn a_name_loses_its_packing_only() {
        assert_eq!(plain("a.csv.gz"), "a.csv");
        assert_eq!((plain("a.csv"), plain("gz"), plain("名gz")), ("a.csv", "gz", "名gz"));
    }
}
