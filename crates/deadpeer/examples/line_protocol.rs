//! A heartbeat for a line protocol of one's own, on both sides, with blocking streams and no thread besides.
//!
//! ```text
//! cargo run -p deadpeer --example line_protocol
//! ```
//!
//! The protocol: a line is a message; an empty line is a sign of life, and is not answered. Each side sends
//! something at least every 300 ms and gives the other up after a second of silence, whether its host is dead or
//! its program hangs. Here the server hangs after its second answer, and the client notices.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant as Clock};

use deadpeer::{Beat, Heartbeat, Instant, Timing};

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || serve(&listener).map_err(|error| println!("server: {error}")));

    let mut lines = Lines::new(TcpStream::connect(address)?)?;
    for question in ["one", "two", "three"] {
        lines.send(question)?;
        match lines.receive() {
            Ok(answer) => println!("client: {answer}"),
            Err(error) => println!("client: {error}"),
        }
    }
    Ok(())
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    let mut lines = Lines::new(listener.accept()?.0)?;
    for _ in 0..2 {
        let question = lines.receive()?;
        lines.send(&format!("you asked {question}"))?;
    }
    // A deadlock, say. The kernel goes on answering for this program.
    loop {
        thread::park();
    }
}

/// One side of the protocol.
struct Lines {
    reader: BufReader<TcpStream>,
    heartbeat: Heartbeat,
    origin: Clock,
    line: String,
}

impl Lines {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let origin = Clock::now();
        let timing =
            Timing::new(Duration::from_millis(300), Duration::from_secs(1)).map_err(io::Error::other)?;
        let seed = u64::from(stream.local_addr()?.port()); // another one on each side
        let heartbeat = Heartbeat::new(timing, seed, Instant::default());
        Ok(Self { reader: BufReader::new(stream), heartbeat, origin, line: String::new() })
    }

    fn now(&self) -> Instant {
        Instant::from_origin(self.origin.elapsed())
    }

    /// A message is a sign of life, so it puts the next beat off.
    fn send(&mut self, message: &str) -> io::Result<()> {
        writeln!(self.reader.get_mut(), "{message}")?;
        self.heartbeat.handle_sent(self.now());
        Ok(())
    }

    /// Waits for a message, and beats meanwhile.
    fn receive(&mut self) -> io::Result<String> {
        loop {
            while let Some(beat) = self.heartbeat.poll(self.now()) {
                match beat {
                    Beat::Ping { .. } => self.send("")?,
                    Beat::Lost { silent } => {
                        let silent = silent.as_secs_f64();
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            format!("the other side is silent for {silent:.1} s"),
                        ));
                    }
                }
            }
            let patience = self.heartbeat.deadline().since(self.now()).max(Duration::from_millis(1));
            self.reader.get_ref().set_read_timeout(Some(patience))?;
            match self.reader.read_line(&mut self.line) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {
                    self.heartbeat.handle_heard(self.now());
                    let line = std::mem::take(&mut self.line);
                    match line.trim_end() {
                        "" => {}
                        message => return Ok(message.to_owned()),
                    }
                }
                // Half a line may be in `line`; the rest will come.
                Err(error) if is_patience(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a read ended because of `set_read_timeout`, which Windows calls by the name of a dead peer: its end
/// is the heartbeat's to notice.
fn is_patience(kind: io::ErrorKind) -> bool {
    let timeout = if cfg!(windows) { io::ErrorKind::TimedOut } else { io::ErrorKind::WouldBlock };
    [timeout, io::ErrorKind::Interrupted].contains(&kind)
}
