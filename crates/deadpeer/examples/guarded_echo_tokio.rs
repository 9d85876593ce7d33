//! A guarded echo server and its client on tokio: epoll on Linux, a completion port on Windows.
//!
//! ```text
//! cargo run -p deadpeer --features tokio --example guarded_echo_tokio
//! cargo run -p deadpeer --features tokio --example guarded_echo_tokio serve 0.0.0.0:7007 30s 5s
//! ```
//!
//! What blocking code can't do easily: the client waits for a line from its user *and* for the server's
//! death, without reading from the server, and says so at once instead of at the user's next line.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::env;
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use deadpeer::{Bound, Guarded, PeerLost, Policy, Span, apply, detection, guard, platform};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => both().await,
        ["serve", address, detect, survive] => {
            let (Span(detect), Span(survive)) = (detect.parse()?, survive.parse()?);
            serve(address, &Policy::detect(detect).survive(survive).build()?).await
        }
        _ => Err("guarded_echo_tokio [serve ADDRESS DETECT SURVIVE]".into()),
    }
}

/// A server and a client in one process, for a first look.
async fn both() -> Result<(), Box<dyn Error>> {
    let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    for gap in &apply(&listener, &policy)?.gaps {
        eprintln!("this system did not take {gap}");
    }
    let server = async {
        let (stream, _) = listener.accept().await?;
        let mut stream = guard(stream, &policy)?;
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).await?;
        stream.write_all(&buffer[..length]).await?;
        println!("server: echoed {length} bytes, and goes home");
        Ok::<(), Box<dyn Error>>(())
    };
    let client = async {
        let stream = guard(TcpStream::connect(address).await?, &policy)?;
        talk(stream).await
    };
    tokio::try_join!(server, client)?;
    Ok(())
}

async fn serve(address: &str, policy: &Policy) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?.port());
    loop {
        let (stream, peer) = listener.accept().await?;
        let stream = guard(stream, policy)?;
        stream.gaps().iter().for_each(|gap| println!("not taken: {gap}"));
        println!("{peer}: accepted");
        let idle = detection(&stream.protection(), &platform(), Duration::from_secs(1)).idle;
        tokio::spawn(async move {
            let mut heard = Instant::now();
            match echo(stream, &mut heard).await {
                Ok(()) => println!("{peer}: the client closed"),
                Err(error) => match (PeerLost::of(&error), idle) {
                    (Some(lost), Bound::Within { least, most }) => println!(
                        "{peer}: lost after {:.1} s of silence, predicted {:.1} to {:.1} s: {lost}",
                        heard.elapsed().as_secs_f64(),
                        least.as_secs_f64(),
                        most.as_secs_f64()
                    ),
                    _ => println!("{peer}: {error}"),
                },
            }
        });
    }
}

async fn echo(mut stream: Guarded<TcpStream>, heard: &mut Instant) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        *heard = Instant::now();
        stream.write_all(&buffer[..length]).await?;
    }
}

async fn talk(mut stream: Guarded<TcpStream>) -> Result<(), Box<dyn Error>> {
    stream.write_all(b"hello\n").await?;
    let mut answer = String::new();
    BufReader::new(&mut stream).read_line(&mut answer).await?;
    println!("client: {}", answer.trim_end());
    // The user thinks. Nothing is read from the server meanwhile, and yet its end is known at once.
    let user = tokio::time::sleep(Duration::from_secs(3600));
    tokio::select! {
        lost = stream.lost() => println!("client: {}", lost?),
        () = user => println!("client: the user has something to say"),
    }
    Ok(())
}
