//! The archive: contents, manifest, checksum; written in one pass and read only when it is whole.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tengyun_proto::v1;

use super::{BackupError, damaged, file};

const MAGIC: &[u8; 8] = b"TYBACK01";
const END: &[u8; 8] = b"TYBACKED";
/// Where the contents begin.
pub(super) const BEGIN: u64 = 8;
/// The manifest's length, the checksum, the end mark.
const FOOTER_BYTES: u64 = 8 + 32 + 8;
/// The largest manifest; a million files of ours have fewer bytes.
const MANIFEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
const CHUNK: usize = 64 * 1024;

/// Writes an archive.
#[derive(Debug)]
pub(super) struct Writer<'a, W> {
    out: W,
    path: &'a Path,
    all: Sha256,
    files: Vec<v1::BackupFile>,
}

impl<'a, W: Write> Writer<'a, W> {
    pub(super) fn begin(out: W, path: &'a Path) -> Result<Self, BackupError> {
        let mut writer = Self { out, path, all: Sha256::new(), files: Vec::new() };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.all.update(bytes);
        self.out.write_all(bytes).map_err(|e| file("write", self.path, e))
    }

    /// Adds what a source has; it may grow meanwhile, what is read counts.
    pub(super) fn add(
        &mut self,
        path: String,
        mode: u32,
        source: &mut impl Read,
        from: &Path,
    ) -> Result<(), BackupError> {
        let (mut sum, mut bytes) = (Sha256::new(), 0_u64);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = source.read(&mut chunk).map_err(|e| file("read", from, e))?;
            if read == 0 {
                break;
            }
            sum.update(&chunk[..read]);
            self.put(&chunk[..read])?;
            bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        let sha256 = sum.finalize().to_vec();
        self.files.push(v1::BackupFile { path, mode, bytes, sha256 });
        Ok(())
    }

    /// Ends the archive: it is durable when this returns.
    pub(super) fn end(
        mut self,
        manifest: v1::BackupManifest,
    ) -> Result<v1::BackupManifest, BackupError>
    where
        W: Durable,
    {
        let manifest = v1::BackupManifest { files: std::mem::take(&mut self.files), ..manifest };
        let bytes = manifest.encode_to_vec();
        self.put(&bytes)?;
        self.put(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes())?;
        let sum = self.all.clone().finalize();
        self.put(&sum)?;
        self.put(END)?;
        self.out.make_durable().map_err(|e| file("write", self.path, e))?;
        Ok(manifest)
    }
}

/// What can be made durable.
pub(super) trait Durable {
    fn make_durable(&mut self) -> io::Result<()>;
}

impl Durable for io::BufWriter<std::fs::File> {
    fn make_durable(&mut self) -> io::Result<()> {
        self.flush()?;
        self.get_ref().sync_all()
    }
}

/// Says whether a file begins as an archive.
pub(super) fn begins(source: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut magic = Vec::new();
    source.seek(SeekFrom::Start(0))?;
    source.by_ref().take(BEGIN).read_to_end(&mut magic)?;
    Ok(magic == MAGIC)
}

/// Checks all of an archive and returns its manifest.
pub(super) fn check(
    source: &mut (impl Read + Seek),
    length: u64,
    path: &Path,
) -> Result<v1::BackupManifest, BackupError> {
    let read = |e| file("read", path, e);
    let footer_at = length.checked_sub(FOOTER_BYTES).filter(|at| *at >= BEGIN);
    let footer_at = footer_at.ok_or_else(|| damaged(path, "it is too short"))?;
    source.seek(SeekFrom::Start(footer_at)).map_err(read)?;
    let mut size = [0; 8];
    let (mut sum, mut end) = ([0; 32], [0; 8]);
    source.read_exact(&mut size).map_err(read)?;
    source.read_exact(&mut sum).map_err(read)?;
    source.read_exact(&mut end).map_err(read)?;
    if &end != END {
        return Err(damaged(path, "its end is missing"));
    }
    source.seek(SeekFrom::Start(0)).map_err(read)?;
    if hash(&mut source.by_ref().take(footer_at + 8)).map_err(read)? != sum {
        return Err(damaged(path, "its checksum is wrong"));
    }
    let size = u64::from_le_bytes(size);
    let at = footer_at.checked_sub(size).filter(|at| *at >= BEGIN && size <= MANIFEST_BYTES_MAX);
    let at = at.ok_or_else(|| damaged(path, "its manifest has no possible length"))?;
    source.seek(SeekFrom::Start(0)).map_err(read)?;
    let mut magic = [0; 8];
    source.read_exact(&mut magic).map_err(read)?;
    if &magic != MAGIC {
        return Err(damaged(path, "it does not begin as one"));
    }
    source.seek(SeekFrom::Start(at)).map_err(read)?;
    let mut bytes = Vec::new();
    source.by_ref().take(size).read_to_end(&mut bytes).map_err(read)?;
    let manifest = v1::BackupManifest::decode(bytes.as_slice())
        .map_err(|_| damaged(path, "its manifest cannot be read"))?;
    let contents = manifest.files.iter().map(|f| f.bytes).fold(0, u64::saturating_add);
    if contents != at - BEGIN {
        return Err(damaged(path, "it does not hold the files that it names"));
    }
    Ok(manifest)
}

fn hash(source: &mut impl Read) -> io::Result<[u8; 32]> {
    let mut sum = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = source.read(&mut chunk)?;
        if read == 0 {
            return Ok(sum.finalize().into());
        }
        sum.update(&chunk[..read]);
    }
}

/// Copies one file out of an archive and checks it once more on the way.
pub(super) fn copy(
    source: &mut impl Read,
    entry: &v1::BackupFile,
    target: &mut impl Write,
    (archive, to): (&Path, &Path),
) -> Result<(), BackupError> {
    let mut sum = Sha256::new();
    let mut left = entry.bytes;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let read = source.read(&mut chunk[..most]).map_err(|e| file("read", archive, e))?;
        if read == 0 {
            return Err(damaged(archive, format!("{} is cut", entry.path)));
        }
        sum.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(|e| file("write", to, e))?;
        left = left.saturating_sub(u64::try_from(read).unwrap_or(u64::MAX));
    }
    if sum.finalize().as_slice() != entry.sha256 {
        return Err(damaged(archive, format!("the checksum of {} is wrong", entry.path)));
    }
    Ok(())
}
