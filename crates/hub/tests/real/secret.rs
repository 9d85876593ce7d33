//! Encrypted sessions.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use deadpeer_hub::{
    Client, ClientConfig, ClientTls, Event, Gateway, GatewayConfig, Refusal, Server, ServerConfig, ServerTls,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::common::{DETECT, Events, SOON, arrived, config, word};

/// An authority, and what it has certified, as files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate with these names, and its key.
    fn certify(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let file = names[0].clone();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let (certified, secret) = (self.file(&format!("{file}.pem")), self.file(&format!("{file}.key")));
        fs::write(&certified, certificate.pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        (certified, secret)
    }

    pub(crate) fn server(&self, asks: bool) -> ServerTls {
        let (certificate, key) = self.certify(&["127.0.0.1"]);
        ServerTls::from_files(&certificate, &key, asks.then(|| self.file("ca.pem")).as_deref()).unwrap()
    }

    pub(crate) fn client(&self, name: Option<&str>) -> ClientTls {
        let identity = name.map(|name| self.certify(&[name]));
        let identity = identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        ClientTls::from_files("127.0.0.1", Some(&self.file("ca.pem")), identity).unwrap()
    }
}

fn serve(tls: ServerTls, forward: Option<&TcpListener>) -> (Server, Events) {
    let (tell, events) = sync_channel(1024);
    let mut server = ServerConfig::new("127.0.0.1:0".parse().unwrap(), config());
    server.tls = Some(tls);
    server.forward = forward.map(|target| target.local_addr().unwrap().to_string().parse().unwrap());
    (Server::start(server, tell).unwrap(), Events(events))
}

fn connect(server: &Server, tls: Option<ClientTls>, id: &str) -> (Client, Events) {
    let (tell, events) = sync_channel(1024);
    let mut config = config();
    config.id = id.to_owned();
    let mut client = ClientConfig::new(server.address().to_string().parse().unwrap(), config);
    client.tls = tls;
    (Client::start(client, tell).unwrap(), Events(events))
}

#[test]
fn a_name_belongs_to_the_certificate() {
    let authority = Authority::new();
    let (server, events) = serve(authority.server(true), None);
    // Its own name, or none.
    for id in ["pi-17.example", ""] {
        let (client, told) = connect(&server, Some(authority.client(Some("pi-17.example"))), id);
        assert_eq!(events.find(arrived), "pi-17.example");
        told.find(arrived);
        drop(client);
        assert_eq!(events.find(word), "left");
    }
    // Another's.
    let (_client, told) = connect(&server, Some(authority.client(Some("pi-17.example"))), "pi-18.example");
    assert_eq!(events.find(word), "wrong-name");
    told.find(word);
}

#[test]
fn strangers_are_refused_and_not_believed() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (server, events) = serve(authority.server(true), None);
    // A client without a certificate, one of another authority, one that does not encrypt.
    let identity = stranger.certify(&["pi-17.example"]);
    let identity = Some((identity.0.as_path(), identity.1.as_path()));
    let foreign = ClientTls::from_files("127.0.0.1", Some(&authority.file("ca.pem")), identity).unwrap();
    for (tls, refused) in [(Some(authority.client(None)), "tls"), (Some(foreign), "tls"), (None, "tls")] {
        let (_client, told) = connect(&server, tls, "");
        assert_eq!(events.find(word), refused);
        told.find(word);
    }
    // A server that the client does not trust.
    let (server, _told) = serve(stranger.server(false), None);
    let (_client, told) = connect(&server, Some(authority.client(None)), "");
    let why = told.find(|event| match event {
        Event::Refused { why: Refusal::Tls(why), .. } => Some(why.clone()),
        _ => None,
    });
    assert!(why.contains("certificate"), "{why}");
}

#[test]
fn heartbeats_and_data_go_through() {
    let authority = Authority::new();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, _told) = serve(authority.server(false), Some(&target));
    let (tell, events) = sync_channel(1024);
    let place = server.address().to_string().parse().unwrap();
    let mut gateway = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), place, config());
    gateway.tls = Some(authority.client(None));
    let gateway = Gateway::start(gateway, tell).unwrap();
    let mut program = TcpStream::connect(gateway.address()).unwrap();
    program.set_read_timeout(Some(SOON)).unwrap();
    let (mut accepted, _) = target.accept().unwrap();
    // Longer than a silent peer would live.
    let quiet = Events(events);
    quiet.find(arrived);
    quiet.silent_for(DETECT * 2);
    let said: Vec<u8> = (0..20_000_000).map(|at| (at / 11) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&program).write_all(&said).unwrap();
            program.shutdown(Shutdown::Write).unwrap();
        });
        let mut heard = Vec::new();
        accepted.read_to_end(&mut heard).unwrap();
        assert!(heard == said, "{} of {} bytes", heard.len(), said.len());
    });
    accepted.write_all(b"thanks").unwrap();
    drop(accepted);
    let mut answer = String::new();
    program.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "thanks");
}

#[test]
fn a_session_in_a_thread_runs_over_rustls() {
    use deadpeer::session::{Config as SessionConfig, Layered, Session};
    let authority = Authority::new();
    let (server, told) = serve(authority.server(false), None);
    let (config, name) = authority.client(None).config();
    let tcp = TcpStream::connect(server.address()).unwrap();
    let socket = tcp.try_clone().unwrap();
    let tls = rustls::StreamOwned::new(rustls::ClientConnection::new(config, name).unwrap(), tcp);
    let config = SessionConfig::new(crate::common::offer()).id("rusty");
    let session = Session::connect(Layered::new(tls, socket), &config).unwrap();
    assert_eq!(told.find(arrived), "rusty");
    // Longer than a silent peer would live.
    assert!(session.over_within(DETECT * 2).is_none());
    assert!(session.rtt().is_some());
    drop(session);
    assert_eq!(told.find(word), "left");
}

#[test]
fn files_that_are_none_are_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(&["127.0.0.1"]);
    let missing = authority.file("missing.pem");
    let cases = [
        (&missing, &key, "missing.pem"),
        (&certificate, &missing, "missing.pem"),
        (&certificate, &certificate, "127.0.0.1.pem"),
    ];
    for (certificate, key, named) in cases {
        let error = ServerTls::from_files(certificate, key, None).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
    let error = ClientTls::from_files("no name", None, None).unwrap_err().to_string();
    assert!(error.contains("no name"), "{error}");
}
