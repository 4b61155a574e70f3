//! What was measured, on disk, with what the machine is made of: another machine measures anew. The boot
//! and the kernel are no part of it.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use tengyun_model::{Inventory, Permille};

/// The file in the state directory.
const FILE: &str = "smt";
/// The first word of the file; another kernel of the measurement gets another one.
const MAGIC: &str = "tengyun-smt-1";
/// More is not read.
const BYTES_MAX: u64 = 4096;

/// Reads what was measured on such a machine; nothing when it was another one, or the file is damaged.
pub(super) fn load(state_dir: &Path, machine: &Inventory) -> Option<Permille> {
    let mut text = String::new();
    let file = File::open(state_dir.join(FILE)).ok()?;
    file.take(BYTES_MAX).read_to_string(&mut text).ok()?;
    let gain = text.strip_prefix(MAGIC)?.split_ascii_whitespace().next()?.parse().ok()?;
    let gain = Some(Permille::new(gain)).filter(|gain| *gain <= Permille::WHOLE)?;
    // Whatever is not what would be written now was not measured here.
    (text == written(machine, gain)).then_some(gain)
}

/// Writes it down durably.
pub(super) fn save(state_dir: &Path, machine: &Inventory, gain: Permille) -> io::Result<()> {
    let (path, new) = (state_dir.join(FILE), state_dir.join("smt.new"));
    let mut file = File::create(&new)?;
    file.write_all(written(machine, gain).as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(state_dir)?.sync_all()
}

fn written(machine: &Inventory, gain: Permille) -> String {
    let Inventory { architecture, cpu_model, sockets, cores, threads, smt, .. } = machine;
    let (gain, smt) = (gain.get(), smt.cores);
    format!("{MAGIC} {gain}\n{sockets} {cores} {threads} {smt} {architecture} {cpu_model}\n")
}

#[cfg(test)]
mod tests {
    use tengyun_model::{BootId, Smt};

    use super::*;

    fn machine() -> Inventory {
        Inventory {
            architecture: "x86_64".to_owned(),
            cpu_model: "Some CPU @ 2.00GHz".to_owned(),
            sockets: 2,
            cores: 64,
            threads: 128,
            smt: Smt { cores: 64, ..Smt::default() },
            ..Inventory::default()
        }
    }

    #[test]
    fn what_was_measured_is_known_after_a_boot_and_on_no_other_machine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path(), &machine()), None);
        save(dir.path(), &machine(), Permille::new(231)).unwrap();
        let booted = Inventory { boot_id: BootId::new(7), kernel: "6".to_owned(), ..machine() };
        assert_eq!(load(dir.path(), &booted), Some(Permille::new(231)));
        let more = Inventory { threads: 129, ..machine() };
        let other = Inventory { cpu_model: "Other".to_owned(), ..machine() };
        let off = Inventory { smt: Smt::default(), ..machine() };
        for machine in [more, other, off] {
            assert_eq!(load(dir.path(), &machine), None, "{machine:?}");
        }
    }

    #[test]
    fn a_damaged_or_absurd_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let whole = written(&machine(), Permille::new(231));
        let absurd = whole.replace(" 231\n", " 1001\n");
        let negative = whole.replace(" 231\n", " -1\n");
        let longer = format!("{whole}\n");
        let huge = "9".repeat(100_000);
        for text in ["", "tengyun-smt-1", "tengyun-smt-1 \n", &absurd, &negative, &longer, &huge] {
            fs::write(dir.path().join(FILE), text).unwrap();
            assert_eq!(load(dir.path(), &machine()), None, "{text:.60}");
        }
        fs::write(dir.path().join(FILE), [0xff, 0xfe]).unwrap();
        assert_eq!(load(dir.path(), &machine()), None);
        fs::write(dir.path().join(FILE), whole).unwrap();
        assert_eq!(load(dir.path(), &machine()), Some(Permille::new(231)));
    }
}
