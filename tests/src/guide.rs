//! The operators' guides: their commands, taken out and run as they stand.
//!
//! Each block of commands has a mark in front of it that says where it is run, so that none is
//! forgotten. What is replaced is what a reader replaces: the state's directory, the scheduler's
//! address, and `TOKEN` by the token that was made last.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::cluster::{ask_to_end, terminate};

/// The languages of blocks that hold commands.
const COMMANDS: [&str; 4] = ["sh", "bash", "shell", "console"];
/// What a guide calls the directory of all state.
const STATE: &str = "/var/lib/tengyun";
/// What a guide calls the address of the scheduler.
const ADDRESS: &str = "10.0.0.1:7443";
/// How long a block may take, and how long it is tried again: what was just applied needs a moment.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often it is tried again.
const AGAIN: Duration = Duration::from_millis(300);
/// The user of a guide that is run without root: nobody.
const NOBODY: u32 = 65_534;

/// Where a block is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// At the terminal of whoever runs the cloud, or of this person; it ends with this code.
    Cluster {
        /// Whose terminal, if not the operator's.
        person: Option<String>,
        /// With which code it ends.
        code: i32,
    },
    /// It goes on until the end of the guide.
    Daemon,
    /// In a virtual machine, where the packages and systemd are.
    Vm,
    /// By this script of the sources, in its own way.
    By(String),
    /// Nowhere, for this reason.
    Never(String),
}

/// One block of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line that it begins at.
    pub line: usize,
    /// The heading that it stands under.
    pub heading: String,
    /// Where it is run.
    pub mark: Mark,
    /// The commands.
    pub text: String,
}

/// Takes the blocks out of a guide.
///
/// # Errors
/// Names the lines of blocks without a mark, of marks without a block, and of unknown marks.
pub fn blocks(guide: &str) -> Result<Vec<Block>, String> {
    let (mut blocks, mut faults) = (Vec::new(), Vec::new());
    let mut mark: Option<(usize, Mark)> = None;
    let mut heading = String::new();
    let mut lines = guide.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end()));
    while let Some((number, line)) = lines.next() {
        let indented = line.trim_start();
        if let Some(fence) = indented.strip_prefix("```") {
            let text: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line.trim_start())
                .take_while(|line| !line.starts_with("```"))
                .collect();
            let text = text.join("\n");
            match (COMMANDS.contains(&fence), mark.take()) {
                (true, Some((_, mark))) => {
                    blocks.push(Block { line: number, heading: heading.clone(), mark, text });
                }
                (true, None) => faults.push(format!("line {number}: a block without a mark")),
                (false, Some(_)) => faults.push(format!("line {number}: a mark, and no commands")),
                (false, None) if text.lines().any(is_command) => {
                    faults.push(format!("line {number}: commands belong in a block of sh"));
                }
                (false, None) => {}
            }
        } else if let Some(said) = indented.strip_prefix("<!-- run: ") {
            match said.strip_suffix(" -->").and_then(read_mark) {
                Some(read) => mark = Some((number, read)),
                None => faults.push(format!("line {number}: no such mark: {said}")),
            }
        } else if !indented.is_empty() {
            if let Some((number, _)) = mark.take() {
                faults.push(format!("line {number}: a mark without a block"));
            }
            if line.starts_with('#') {
                line.trim_start_matches('#').trim().clone_into(&mut heading);
            }
        }
    }
    if let Some((number, _)) = mark {
        faults.push(format!("line {number}: a mark without a block"));
    }
    if faults.is_empty() { Ok(blocks) } else { Err(faults.join("\n")) }
}

fn is_command(line: &str) -> bool {
    line.starts_with("tengyun") || line.starts_with("$ ") || line.starts_with("systemctl ")
}

fn read_mark(text: &str) -> Option<Mark> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let cluster =
        |person: Option<&str>, code| Mark::Cluster { person: person.map(ToOwned::to_owned), code };
    match words.as_slice() {
        ["cluster"] => Some(cluster(None, 0)),
        ["cluster", "code", code] => Some(cluster(None, code.parse().ok()?)),
        ["cluster", "as", person] => Some(cluster(Some(person), 0)),
        ["daemon"] => Some(Mark::Daemon),
        ["vm"] => Some(Mark::Vm),
        ["by", script] => Some(Mark::By((*script).to_owned())),
        ["never", "because", reason @ ..] if !reason.is_empty() => {
            Some(Mark::Never(reason.join(" ")))
        }
        _ => None,
    }
}

/// One reader who goes through one guide; dropped, the daemons are gone.
#[derive(Debug)]
pub struct Reader {
    dir: tempfile::TempDir,
    address: String,
    user: Option<u32>,
    token: Option<String>,
    daemons: Vec<(String, Child)>,
}

impl Reader {
    /// Makes a reader with an empty home, and with what the sources have as examples.
    ///
    /// # Panics
    /// The directory cannot be made.
    pub fn new(sources: &Path, root: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tengyun-guide").tempdir().expect("a temp dir");
        // A port that is free now; a daemon must be told one before it listens.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port").to_string();
        let own = nix::unistd::geteuid().is_root();
        let user = (own && !root).then_some(NOBODY);
        let reader = Self { dir, address, user, token: None, daemons: Vec::new() };
        let bin = reader.dir.path().join("bin");
        fs::create_dir(&bin).expect("our directory");
        for name in ["tengyun", "tengyun-agent", "tengyun-scheduler"] {
            let from = crate::cluster::binary(name);
            let to = bin.join(name);
            // The sources may be where an ordinary user cannot go.
            fs::hard_link(&from, &to)
                .or_else(|_| fs::copy(&from, &to).map(drop))
                .expect("the binaries can be copied");
        }
        copy(&sources.join("examples"), &reader.dir.path().join("examples"));
        for path in [reader.dir.path(), &bin] {
            allow(path, 0o755);
        }
        fs::create_dir(reader.home(None)).expect("our directory");
        reader.give(&reader.home(None));
        reader
    }

    fn home(&self, person: Option<&str>) -> PathBuf {
        self.dir.path().join(person.unwrap_or("state"))
    }

    fn give(&self, path: &Path) {
        if let Some(user) = self.user {
            std::os::unix::fs::chown(path, Some(user), Some(user)).expect("root may give");
        }
        allow(path, 0o711);
    }

    /// Runs one block where it is to be run here.
    ///
    /// # Errors
    /// It ended otherwise than its mark says, or not at all.
    pub fn run(&mut self, block: &Block) -> Result<(), String> {
        match &block.mark {
            Mark::Vm | Mark::By(_) | Mark::Never(_) => Ok(()),
            Mark::Daemon => self.start(&self.replaced(&block.text)?),
            Mark::Cluster { person, code } => {
                self.try_block(&self.replaced(&block.text)?, person.as_deref(), *code)
            }
        }
    }

    fn replaced(&self, text: &str) -> Result<String, String> {
        let state = self.home(None).display().to_string();
        let text = text.replace(STATE, &state).replace(ADDRESS, &self.address);
        if !text.contains("TOKEN") {
            return Ok(text);
        }
        let token = self.token.as_ref().ok_or("no token was made before it is used")?;
        Ok(text.replace("TOKEN", token))
    }

    fn start(&mut self, text: &str) -> Result<(), String> {
        let log = self.dir.path().join(format!("daemon-{}.log", self.daemons.len()));
        let file = File::create(&log).map_err(|error| error.to_string())?;
        // In place of the shell, so that the daemon is the one who is told to end.
        let mut command = self.shell(&format!("exec {text}"), None);
        command.stdout(file.try_clone().map_err(|error| error.to_string())?).stderr(file);
        let child = command.spawn().map_err(|error| error.to_string())?;
        self.daemons.push((text.to_owned(), child));
        Ok(())
    }

    fn try_block(&mut self, text: &str, person: Option<&str>, code: i32) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let mut command = self.shell(&format!("set -eu\n{text}"), person);
            let output = command.output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.code() == Some(code) {
                let token = said.split_whitespace().rfind(|word| word.starts_with("ty1."));
                self.token = token.map(ToOwned::to_owned).or_else(|| self.token.take());
                return self.daemons_live();
            }
            let problem = String::from_utf8_lossy(&output.stderr).into_owned();
            if start.elapsed() > PATIENCE {
                let ended = output.status.code();
                return Err(format!("{text}\nended with {ended:?}, not {code}:\n{said}{problem}"));
            }
            std::thread::sleep(AGAIN);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a guide's commands are a shell's")]
    fn shell(&self, text: &str, person: Option<&str>) -> Command {
        let home = self.home(person);
        let mut command = match self.user {
            None => Command::new("sh"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                let user = user.to_string();
                command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "sh"]);
                command
            }
        };
        if person.is_some() && !home.exists() {
            fs::create_dir(&home).expect("our directory");
            self.give(&home);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["-c", text])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.dir.path().join("bin").display()))
            .env("TENGYUN_STATE_DIR", &home)
            .env("HOME", &home)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    fn daemons_live(&mut self) -> Result<(), String> {
        for (text, child) in &mut self.daemons {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("{text}\ndid not go on: {status}"));
            }
        }
        Ok(())
    }

    /// What the daemons said, for whoever looks for a fault.
    pub fn logs(&self) -> String {
        let logs = (0..self.daemons.len()).map(|n| format!("daemon-{n}.log"));
        let texts = logs.map(|log| fs::read_to_string(self.dir.path().join(log)));
        texts.map(Result::unwrap_or_default).collect::<Vec<_>>().join("\n---\n")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The newest first: an agent ends before its scheduler.
        while let Some((_, child)) = self.daemons.pop() {
            ask_to_end(&child);
            terminate(child);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("our directory");
    allow(to, 0o755);
    for entry in fs::read_dir(from).expect("the sources have examples").flatten() {
        let path = to.join(entry.file_name());
        if entry.path().is_file() {
            fs::copy(entry.path(), &path).expect("our directory");
            allow(&path, 0o644);
        }
    }
}

fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_are_taken_out_with_their_lines() {
        let guide = "# Guide\n\n<!-- run: cluster -->\n```sh\ntengyun status\n```\n\
            text\n\n<!-- run: cluster code 1 -->\n\n```sh\nfalse\n```\n\
            <!-- run: never because it ends the world -->\n```sh\nrm\n```\n\n```text\nno\n```\n";
        let found = blocks(guide).unwrap();
        let lines: Vec<usize> = found.iter().map(|block| block.line).collect();
        assert_eq!(lines, [4, 11, 15]);
        assert_eq!(found[0].mark, Mark::Cluster { person: None, code: 0 });
        assert_eq!(
            (found[0].text.as_str(), found[0].heading.as_str()),
            ("tengyun status", "Guide")
        );
        assert_eq!(found[1].mark, Mark::Cluster { person: None, code: 1 });
        assert_eq!(found[2].mark, Mark::Never("it ends the world".to_owned()));
    }

    #[test]
    fn a_block_without_a_mark_and_a_mark_without_a_block_are_named() {
        let fault = |guide: &str| blocks(guide).unwrap_err();
        assert_eq!(fault("```sh\nx\n```\n"), "line 1: a block without a mark");
        assert_eq!(fault("<!-- run: cluster -->\ntext\n"), "line 1: a mark without a block");
        assert_eq!(fault("<!-- run: cluster -->\n"), "line 1: a mark without a block");
        assert_eq!(fault("<!-- run: mars -->\n"), "line 1: no such mark: mars -->");
        assert_eq!(fault("<!-- run: vm -->\n```text\nx\n```\n"), "line 2: a mark, and no commands");
        let hidden = "```text\ntengyun drain n1\n```\n";
        assert_eq!(fault(hidden), "line 1: commands belong in a block of sh");
    }
}
