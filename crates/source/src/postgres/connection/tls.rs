//! Whose certificates are accepted, and which one is ours: a rustls configuration from the options of a connection.

use super::options::{Mode, Options, Roots};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use viewfeed_change::{Error, Result};

/// How the protocol is called that is spoken inside.
const PROTOCOL: &[u8] = b"postgresql";

/// For every mode but `disable`. Reads the files that are named.
pub(super) fn config(options: &Options) -> Result<ClientConfig> {
    // Named, not that of the process: somebody else in it may choose another.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        trusted: match options.mode {
            Mode::Disable | Mode::Prefer | Mode::Require => None,
            Mode::VerifyAuthority | Mode::VerifyFull => Some(trusted(&options.roots, &provider)?),
        },
        named: match &options.roots {
            Roots::File(path) => certificates(path)?,
            Roots::Unnamed | Roots::System => Vec::new(),
        },
        names_count: options.mode == Mode::VerifyFull,
        provider: Arc::clone(&provider),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::internal("the versions of TLS are not supported").because(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&options.certificate, &options.key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                unreadable("the client's key", key)
                    .because(error)
                    .hint("it must be an unencrypted key in PEM form: PKCS#8, PKCS#1 or SEC1")
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::invalid(
                    "BAD_CERTIFICATE",
                    "the client's certificate and key do not go together",
                )
                .because(error)
            })?
        }
        _ => {
            return Err(Error::invalid(
                "BAD_CONNECTION",
                "sslcert and sslkey are needed together",
            ));
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}

/// Accepts certificates as `sslmode` says.
#[derive(Debug)]
struct Verifier {
    /// None accepts any certificate: then whoever is between us and the server can be the server.
    trusted: Option<Arc<WebPkiServerVerifier>>,
    /// The certificates in the file of `sslrootcert`.
    named: Vec<CertificateDer<'static>>,
    /// Whether the certificate must name the host.
    names_count: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        revocation: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(trusted) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        match trusted.verify_server_cert(certificate, intermediates, host, revocation, now) {
            // Names are looked at last: the rest was in order.
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if !self.names_count =>
            {
                Ok(ServerCertVerified::assertion())
            }
            // A server with a certificate that it made itself, as Postgres' documentation shows: no authority's, but named as
            // trusted. That it is valid now was looked at before.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_)))
                if self.named.iter().any(|named| named == certificate) =>
            {
                if self.names_count {
                    verify_server_name(&ParsedCertificate::try_from(certificate)?, host)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn trusted(roots: &Roots, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Unnamed | Roots::System => {
            // Some that cannot be read do not hinder the others.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Roots::File(path) => {
            for certificate in certificates(path)? {
                store
                    .add(certificate)
                    .map_err(|error| unreadable("a certificate of an authority", path).because(error))?;
            }
        }
    }
    if store.is_empty() {
        return Err(Error::invalid(
            "BAD_CERTIFICATE",
            "this machine trusts no authority for certificates",
        )
        .hint("install ca-certificates, or name the server's authority with sslrootcert"));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
        .build()
        .map_err(|error| Error::internal("the trusted certificates cannot be used").because(error))
}

/// At least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(unreadable("a certificate", path)),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable("a certificate", path).because(error)),
    }
}

fn unreadable(what: &str, path: &Path) -> Error {
    Error::invalid(
        "BAD_CERTIFICATE",
        format!("{what} cannot be read from `{}`", path.display()),
    )
    .hint("it must be a PEM file that viewfeed may read")
}
