//! Encrypted sessions.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

/// How a server proves who it is, and what it asks of clients.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<ServerConfig>);

/// How a client proves who the server is, and what it says of itself.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

/// Files, or what stands in them, that make no TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl ServerTls {
    /// From PEM files: the server's certificate with those that lead to its root, its key, and the authorities
    /// that clients' certificates must come from; `None` asks clients for none.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn from_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                        .build()
                        .map_err(|error| wrong(path, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|error| wrong(key, &error))?;
        // Sessions live for days: what would make a second handshake quicker is memory for nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    pub(crate) fn connection(&self) -> Result<Connection, rustls::Error> {
        ServerConnection::new(Arc::clone(&self.0)).map(Connection::Server).map(unlimited)
    }
}

impl ClientTls {
    /// For the server `name`, a DNS name or an address as its certificate has it. `ca` holds the authorities
    /// that its certificate must come from, `None` takes the system's; `identity` is the client's own
    /// certificate and key. All files are PEM.
    ///
    /// # Errors
    /// [`TlsError`] names the file or the name.
    pub fn from_files(
        name: &str,
        ca: Option<&Path>,
        identity: Option<(&Path, &Path)>,
    ) -> Result<Self, TlsError> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError(format!("{name:?} is no name that a certificate can have")))?;
        let roots = match ca {
            Some(path) => roots(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
                .map_err(|error| wrong(key, &error))?,
        };
        Ok(Self { config: Arc::new(config), server })
    }

    /// For those who drive rustls themselves.
    pub fn config(&self) -> (Arc<ClientConfig>, ServerName<'static>) {
        (Arc::clone(&self.config), self.server.clone())
    }

    pub(crate) fn connection(&self) -> Result<Connection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.server.clone())
            .map(Connection::Client)
            .map(unlimited)
    }
}

/// The loop gives a connection one message at a time, and the next when that is written: no other limit is needed.
fn unlimited(mut connection: Connection) -> Connection {
    connection.set_buffer_limit(None);
    connection
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError(format!("{}: {error}", path.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = match CertificateDer::pem_file_iter(path) {
        Ok(found) => found.collect(),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) if found.is_empty() => Err(TlsError(format!("{}: no certificate in it", path.display()))),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(path, &error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| wrong(path, &error))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(path, &error))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry a few that nobody can read; one that is needed and missing shows in the handshake.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError("this system has no certificate authorities: name a file of them".to_owned()));
    }
    Ok(roots)
}

/// The names in a peer's certificate; `None` where it showed none.
pub(crate) fn certified(connection: &Connection) -> Option<Vec<String>> {
    let certificate = connection.peer_certificates()?.first()?;
    let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
    Some(parsed.valid_dns_names().map(str::to_owned).collect())
}

/// Reads what was encrypted; 0 at the end of the stream. The handshake goes on meanwhile. `arrived` becomes true if
/// encrypted bytes arrived, also if they complete no record.
pub(crate) fn read(
    tls: &mut Connection,
    mut socket: impl Read + Write,
    into: &mut [u8],
    arrived: &mut bool,
) -> io::Result<usize> {
    loop {
        match tls.reader().read(into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Ended without TLS's own goodbye; the protocol has one of its own, and knows.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            result => return result,
        }
        if tls.read_tls(&mut socket)? == 0 {
            // The reader says how it ended.
            tls.process_new_packets().map_err(invalid)?;
            return Ok(0);
        }
        *arrived = true;
        let processed = tls.process_new_packets();
        // Answers of the handshake; or the alert that says what was wrong.
        let flushed = flush(tls, &mut socket);
        processed.map_err(invalid)?;
        flushed?;
    }
}

/// Writes what is encrypted and waits. Says whether all of it went.
pub(crate) fn flush(tls: &mut Connection, mut socket: impl Write) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut socket) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
