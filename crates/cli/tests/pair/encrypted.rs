//! Certificates from files.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::served::Served;
use crate::told::Told;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(folder: &Path) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
    issuer
}

/// `NAME.pem` and `NAME.key` of this name.
fn certify(authority: &Authority, folder: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn clients_prove_who_they_are() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let issuer = authority(folder.path());
    for name in ["server.example", "pi-17.example"] {
        certify(&issuer, folder.path(), name);
    }
    let (ca, certificate, key) = (file("ca.pem"), file("server.example.pem"), file("server.example.key"));
    // With TLS others may reach it, and nothing else need be said.
    let tls = ["--tls-cert", &certificate, "--tls-key", &key, "--client-ca", &ca];
    let mut served = Served::start("0.0.0.0:0", &tls);
    let server = format!("127.0.0.1:{}", served.address.port());
    let base = ["connect", &server, "--json", "--tls", "--ca", &ca, "--tls-name"];
    let (own, secret) = (file("pi-17.example.pem"), file("pi-17.example.key"));
    let identity = ["--tls-cert", &own, "--tls-key", &secret];

    let mut known = Told::start(&[&base[..], &["server.example"], &identity].concat());
    assert_eq!(served.next("arrived")["id"], "pi-17.example");
    known.next("arrived");
    // Another's name; a server of another name; nobody's certificate.
    let mut liar =
        Told::start(&[&base[..], &["server.example", "--id", "pi-18.example"], &identity].concat());
    let refused = served.next("refused");
    assert_eq!(refused["cause"], "wrong-name", "{refused}");
    assert_eq!(liar.next("refused")["cause"], "bye");
    drop(liar);
    let mut careful = Told::start(&[&base[..], &["other.example"], &identity].concat());
    let refused = careful.next("refused");
    assert!(refused["text"].as_str().unwrap().contains("other.example"), "{refused}");
    let mut nobody = Told::start(&[&base[..], &["server.example"]].concat());
    assert_eq!(served.next("refused")["cause"], "tls");
    nobody.next("waiting");
    assert_eq!(served.sessions("")["count"], 1);
}
