//! A client that keeps one session up: it notices a dead server within ten seconds, tells its user why, and
//! comes back, to another address where there is one.
//!
//! ```text
//! cargo run -p deadpeer --features tokio --example reconnecting_client -- serve 127.0.0.1:7007
//! cargo run -p deadpeer --features tokio --example reconnecting_client -- connect 127.0.0.1:7007 [more:7007 …]
//! ```
//!
//! Kill the server (it says goodbye on Ctrl-C), freeze it with Ctrl-Z, or pull the cable, and watch the
//! client. Without arguments both run for a moment in one process.
#![allow(clippy::print_stdout)] // an example talks to whoever runs it

use std::env;
use std::error::Error;
use std::io;
use std::time::Duration;

use deadpeer::session::tokio::{Connector, Session, accept_over};
use deadpeer::session::{Bye, Config, Reason};
use deadpeer::{AsSock, Policy};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let policy = Policy::detect(Duration::from_secs(10)).survive(Duration::from_secs(2)).build()?;
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", address] => serve(TcpListener::bind(address).await?, &policy, usize::MAX).await,
        ["connect", ref places @ ..] if !places.is_empty() => connect(places, &policy, usize::MAX).await,
        [] => {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let place = listener.local_addr()?.to_string();
            let places = [place.as_str()];
            tokio::try_join!(serve(listener, &policy, 2), connect(&places, &policy, 2))?;
            Ok(())
        }
        _ => Err("reconnecting_client [serve ADDRESS | connect ADDRESS…]".into()),
    }
}

/// Serves `clients` clients, each for one question.
async fn serve(listener: TcpListener, policy: &Policy, clients: usize) -> Result<(), Box<dyn Error>> {
    let config = Config::keeping(policy)?.id("server");
    let mut served = JoinSet::new();
    for _ in 0..clients {
        let (stream, peer) = listener.accept().await?;
        let config = config.clone();
        // A task each, the greeting included: a client that says nothing keeps nobody waiting.
        served.spawn(async move {
            let accepted = accept_over(stream, |stream| stream.as_sock(), &config, |_| Ok(())).await;
            let answered = match accepted {
                Ok((session, driver)) => {
                    tokio::spawn(driver.run());
                    answer(session).await
                }
                Err(error) => Err(error),
            };
            match answered {
                Ok(true) => {}
                Ok(false) => println!("server: {peer} has left"),
                Err(error) => println!("server: {peer} is gone: {error}"),
            }
        });
    }
    served.join_all().await;
    Ok(())
}

/// Answers one question. Says whether there was one.
async fn answer(mut session: Session) -> io::Result<bool> {
    let Some(question) = session.recv().await? else { return Ok(false) };
    session.send(&question).await?;
    // "Come back no sooner than in a tenth of a second": an overloaded server would say more.
    session.close(Bye::new(Reason::Restarting).back_in(Duration::from_millis(100))).await;
    Ok(true)
}

async fn connect(places: &[&str], policy: &Policy, times: usize) -> Result<(), Box<dyn Error>> {
    let mut connector = Connector::new(places.iter().copied(), policy)?
        .id("example")
        .on(|transition| println!("client: {transition}"));
    for number in 0..times {
        let mut session = connector.connect().await?;
        session.send(format!("question {number}").as_bytes()).await?;
        match session.recv().await {
            Ok(Some(answer)) => println!("client: the answer is {:?}", String::from_utf8_lossy(&answer)),
            Ok(None) => println!("client: the server left before it answered"),
            // The next connect() tells it, waits and tries again.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(error.into()),
            Err(_) => {}
        }
        // Until the server leaves.
        session.over().await;
    }
    Ok(())
}
