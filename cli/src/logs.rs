//! `tengyun logs`: what an instance wrote, as it wrote it.

use std::io::{self, IsTerminal as _, Write as _};

use tengyun_proto::v1;

use crate::failure::Failure;
use crate::message::Message;
use crate::output::clean_lines;
use crate::session::{Session, key_of};

/// What `logs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct LogsArgs {
    /// An instance's number, or a workload's name when it has one instance
    name: String,
    /// Go on as it writes
    #[arg(short, long)]
    follow: bool,
    /// Only so many of the last lines [default: all that is kept]
    #[arg(long, value_name = "LINES")]
    tail: Option<u32>,
}

/// Shows the output of one instance.
pub(crate) async fn run(session: &Session, args: LogsArgs) -> Result<(), Failure> {
    let instance = match args.name.parse() {
        Ok(number) => number,
        Err(_) => only_instance(session, &args.name).await?,
    };
    let tail_lines = args.tail.unwrap_or(0);
    let request = v1::LogsRequest { instance, tail_lines, follow: args.follow };
    let mut stream = session.operator().await?.logs(request).await?.into_inner();
    let terminal = io::stdout().is_terminal();
    while let Some(chunk) = stream.message().await? {
        match write(&chunk.data, terminal) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => {
                return Err(Failure::Internal(Message::CannotWriteOutput { error: &error }.said()));
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Writes bytes as they are to a file or pipe, and made harmless to a terminal.
fn write(data: &[u8], terminal: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if terminal {
        out.write_all(clean_lines(&String::from_utf8_lossy(data)).as_bytes())?;
    } else {
        out.write_all(data)?;
    }
    out.flush()
}

/// Finds the instance of a workload that has output: the only one, or the newest when the others
/// have ended.
async fn only_instance(session: &Session, name: &str) -> Result<u64, Failure> {
    let workload = session.workload(name).await?;
    let list = session.instances(Some(key_of(workload.spec.as_ref()))).await?;
    let placed: Vec<&v1::InstanceView> =
        list.instances.iter().filter(|i| i.node.is_some()).collect();
    let wanted: Vec<&&v1::InstanceView> = placed.iter().filter(|i| i.wanted).collect();
    match (wanted.as_slice(), placed.as_slice()) {
        ([one], _) => Ok(one.instance),
        ([], [.., newest]) => Ok(newest.instance),
        ([], []) => Err(Failure::Refused(Message::NoInstanceOnNode { name: &name }.said())),
        (several, _) => {
            let numbers: Vec<String> = several.iter().map(|i| i.instance.to_string()).collect();
            let list = numbers.join(", ");
            Err(Failure::Usage(Message::SeveralInstances { name: &name, list: &list }.said()))
        }
    }
}
