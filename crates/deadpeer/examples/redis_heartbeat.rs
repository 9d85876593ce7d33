//! A heartbeat for a protocol that exists: a Redis client that knows within three seconds that the server
//! hangs, which no kernel option tells.
//!
//! ```text
//! cargo run -p deadpeer --example redis_heartbeat -- 127.0.0.1:6379 [seconds]
//! ```
//!
//! It subscribes to the channel "news" and waits for what comes. A subscriber has nothing to say, so without
//! a heartbeat it would wait for ever at a server that is stopped. Redis answers PING also here. Freeze the
//! server to see it: `kill -STOP $(pidof redis-server)`, and `-CONT` to thaw it.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant as Clock};

use deadpeer::{Beat, Heartbeat, Instant, Timing};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:6379".to_owned());
    let seconds = args.next().map_or(Ok(u64::MAX), |text| text.parse())?;
    let stream = TcpStream::connect(&address)?;
    (&stream).write_all(b"SUBSCRIBE news\r\n")?;

    let origin = Clock::now();
    let now = || Instant::from_origin(origin.elapsed());
    // Ask once a second when nothing else is sent; three seconds of silence are a death.
    let timing = Timing::new(Duration::from_secs(1), Duration::from_secs(3))?;
    let mut heartbeat = Heartbeat::new(timing, 1, now());

    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while origin.elapsed() < Duration::from_secs(seconds) {
        while let Some(beat) = heartbeat.poll(now()) {
            match beat {
                // Whatever the peer answers to will do.
                Beat::Ping { .. } => {
                    (&stream).write_all(b"PING\r\n")?;
                    heartbeat.handle_sent(now());
                }
                Beat::Lost { silent } => {
                    return Err(format!("redis is silent for {:.1} s", silent.as_secs_f64()).into());
                }
            }
        }
        // Read until the heartbeat has something to say; zero would mean "no timeout".
        let patience = heartbeat.deadline().since(now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(patience))?;
        match reader.read_line(&mut line) {
            Ok(0) => return Err("redis has closed the connection".into()),
            Ok(_) => {
                heartbeat.handle_heard(now());
                // RESP: "$4" announces four bytes, "*3" three values.
                if !line.starts_with(['$', '*', ':']) {
                    println!("{}", line.trim_end());
                }
                line.clear();
            }
            // Half a line may be in `line`; the rest will come.
            Err(error) if is_patience(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a read ended because of `set_read_timeout`, which Windows calls by the name of a dead peer: its end
/// is the heartbeat's to notice.
fn is_patience(kind: io::ErrorKind) -> bool {
    let timeout = if cfg!(windows) { io::ErrorKind::TimedOut } else { io::ErrorKind::WouldBlock };
    [timeout, io::ErrorKind::Interrupted].contains(&kind)
}
