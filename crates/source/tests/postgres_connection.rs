//! Connections to a real server: each way of being known to it, encrypted or not, for SQL and for replication alike.

use std::fs;
use std::path::Path;
use viewfeed_change::{Error, ErrorKind};
use viewfeed_source::postgres::{Connector, Replication, Settings, SqlSession};
use viewfeed_testbed::{Authority, Postgres};

/// psql comes by the socket, as whoever it says.
const LOCAL: &str = "local all all trust\n";

pub(crate) fn settings(connection: &str) -> Settings {
    Settings {
        connection: connection.to_owned(),
        password_env: None,
        password_file: None,
        tables: vec!["public.*".to_owned()],
        schema: "shop".to_owned(),
        publication: "viewfeed".to_owned(),
        slot: "viewfeed".to_owned(),
        text_columns: vec![],
        wal_bytes_max: u64::MAX,
    }
}

/// A server that asks those who come over TCP as `lines` of `pg_hba.conf` say, after `statements`, with further files.
fn server_with(statements: &[&str], lines: &str, files: &[(&str, &Path)]) -> Postgres {
    let mut server = Postgres::start_with(&["wal_level=logical"]);
    let mut psql = server.connect();
    for statement in statements {
        psql.query(statement).unwrap();
    }
    drop(psql);
    server.put("pg_hba.conf", format!("{LOCAL}{lines}"));
    for (name, path) in files {
        server.put(name, fs::read(path).unwrap());
    }
    server.crash();
    server.resume();
    server
}

/// Connects both ways.
async fn connect(settings: &Settings) -> Result<SqlSession, Error> {
    let connector = Connector::new(settings)?;
    let session = connector.sql("viewfeed test").await;
    let replication = Replication::open(&connector, "viewfeed test").await;
    match (session, replication) {
        (Ok(session), Ok(mut replication)) => {
            assert_eq!(session.server_major(), replication.server_major());
            let identity = replication.identify().await?;
            assert_eq!(identity.database, "postgres");
            assert!(identity.timeline >= 1 && identity.flushed.0 > 0);
            Ok(session)
        }
        (Err(error), Err(other)) => {
            assert_eq!((error.kind(), error.reason()), (other.kind(), other.reason()));
            Err(error)
        }
        (Ok(_), Err(error)) => panic!("replication fails alone: {error}"),
        (Err(error), Ok(_)) => panic!("SQL fails alone: {error}"),
    }
}

async fn refused(connection: &str) -> Error {
    match connect(&settings(connection)).await {
        Ok(_) => panic!("nobody should be let in"),
        Err(error) => error,
    }
}

async fn text(session: &SqlSession, query: &str) -> String {
    let row = session.client().query_one(query, &[]).await.unwrap();
    row.get(0)
}

#[tokio::test]
async fn sessions_are_alike_whatever_the_role_is_set_to() {
    let server = Postgres::start_with(&["wal_level=logical", "datestyle=german", "timezone=Asia/Tokyo"]);
    let mut psql = server.connect();
    psql.query("ALTER ROLE viewfeed SET bytea_output = 'escape'")
        .unwrap();
    psql.query("ALTER ROLE viewfeed SET statement_timeout = '1s'")
        .unwrap();
    let by_socket = format!(
        "host={} port={} user=viewfeed dbname=postgres sslmode=require",
        server.data().display(),
        server.port()
    );
    for connection in [
        server.connection(),
        by_socket,
        format!("{} options='-c work_mem=1MB'", server.connection()),
    ] {
        let session = connect(&settings(&connection)).await.unwrap();
        for (name, value) in [
            ("datestyle", "ISO, DMY"),
            ("intervalstyle", "postgres"),
            ("extra_float_digits", "3"),
            ("bytea_output", "hex"),
            ("timezone", "UTC"),
            ("search_path", "pg_catalog"),
            ("statement_timeout", "0"),
            ("idle_in_transaction_session_timeout", "0"),
            ("client_encoding", "UTF8"),
            ("application_name", "viewfeed test"),
        ] {
            let set = text(&session, &format!("SELECT current_setting('{name}')")).await;
            assert_eq!(set, value, "{name}");
        }
    }
    let url = format!(
        "postgresql://viewfeed@127.0.0.1:{}/postgres?application_name=other",
        server.port()
    );
    connect(&settings(&url)).await.unwrap();
}

#[tokio::test]
async fn passwords_come_from_the_string_a_variable_or_a_file_that_may_change() {
    // A variable that is always there.
    let path = std::env::var("PATH").unwrap();
    let server = server_with(
        &[
            "ALTER ROLE viewfeed PASSWORD 'pass word'",
            &format!("CREATE ROLE other LOGIN REPLICATION PASSWORD '{path}'"),
            "SET password_encryption = 'md5'",
            "CREATE ROLE old LOGIN REPLICATION PASSWORD 'old'",
            "CREATE ROLE plain LOGIN REPLICATION PASSWORD 'plain'",
        ],
        "host all old all md5\nhost all plain all password\nhost all all all scram-sha-256\n",
        &[],
    );
    let by = |user: &str, more: &str| {
        format!(
            "host=127.0.0.1 port={} dbname=postgres user={user} {more}",
            server.port()
        )
    };
    for (user, password) in [("viewfeed", "'pass word'"), ("old", "old"), ("plain", "plain")] {
        connect(&settings(&by(user, &format!("password={password}"))))
            .await
            .unwrap();
        let error = refused(&by(user, "password='wr0ng'")).await;
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Precondition, "POSTGRES_LOGIN")
        );
        assert!(
            error.message().contains("28P01") && !error.to_string().contains("wr0ng"),
            "{error}"
        );
    }
    let mut from_variable = settings(&by("other", ""));
    from_variable.password_env = Some("PATH".to_owned());
    connect(&from_variable).await.unwrap();
    from_variable.password_env = Some("VIEWFEED_TEST_NO_SUCH_VARIABLE".to_owned());
    let error = connect(&from_variable).await.err().unwrap();
    assert!(
        error.message().contains("VIEWFEED_TEST_NO_SUCH_VARIABLE"),
        "{error}"
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let mut from_file = settings(&by("viewfeed", ""));
    from_file.password_file = Some(file.display().to_string());
    assert_eq!(connect(&from_file).await.err().unwrap().reason(), "NO_PASSWORD");
    fs::write(&file, "old one\n").unwrap();
    assert_eq!(
        connect(&from_file).await.err().unwrap().reason(),
        "POSTGRES_LOGIN"
    );
    fs::write(&file, "pass word\nand a second line").unwrap();
    connect(&from_file).await.unwrap();
    let error = refused(&by("viewfeed", "")).await;
    assert!(error.advice().unwrap().contains("password"), "{error}");
}

#[tokio::test]
async fn encryption_is_verified_as_far_as_sslmode_says() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let (certificate, key) = ours.issue("localhost");
    let server = server_with(
        &[
            "ALTER ROLE viewfeed PASSWORD 'secret'",
            "ALTER SYSTEM SET ssl = on",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "CREATE ROLE certified LOGIN REPLICATION",
        ],
        "hostssl all certified all cert\nhostssl all all all scram-sha-256\n",
        &[
            ("server.crt", &certificate),
            ("server.key", &key),
            ("root.crt", &ours.certificate()),
        ],
    );
    let (root, other_root) = (ours.certificate(), foreign.certificate());
    let (root, other_root) = (root.display(), other_root.display());
    let to = |host: &str, more: &str| {
        format!(
            "host={host} port={} dbname=postgres user=viewfeed password=secret {more}",
            server.port()
        )
    };
    for connection in [
        to(
            "localhost",
            &format!("sslmode=verify-full sslrootcert={root} channel_binding=require"),
        ),
        to("localhost", ""),
        to("localhost", "sslmode=require"),
        to("127.0.0.1", &format!("sslmode=verify-ca sslrootcert={root}")),
    ] {
        let session = connect(&settings(&connection)).await.unwrap();
        let encrypted = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(text(&session, encrypted).await, "true", "{connection}");
    }
    for connection in [
        to("127.0.0.1", &format!("sslmode=verify-full sslrootcert={root}")),
        to(
            "localhost",
            &format!("sslmode=verify-full sslrootcert={other_root}"),
        ),
        to("localhost", &format!("sslmode=require sslrootcert={other_root}")),
        to("localhost", "sslmode=verify-ca"),
    ] {
        let error = refused(&connection).await;
        assert_eq!(
            (error.kind(), error.reason()),
            (ErrorKind::Precondition, "TLS_FAILED"),
            "{error}"
        );
    }
    let error = refused(&to("localhost", "sslmode=disable")).await;
    assert_eq!(error.reason(), "POSTGRES_LOGIN", "{error}");

    known_by_certificate(&server, &ours).await;
}

/// The role `certified` comes by its certificate.
async fn known_by_certificate(server: &Postgres, ours: &Authority) {
    let root = ours.certificate();
    let root = root.display();
    let (certificate, key) = ours.issue("certified");
    let as_certified = |files: &str| {
        format!(
            "host=localhost port={} dbname=postgres user=certified sslmode=verify-full sslrootcert={root} {files}",
            server.port()
        )
    };
    let files = format!("sslcert={} sslkey={}", certificate.display(), key.display());
    connect(&settings(&as_certified(&files))).await.unwrap();
    let error = refused(&as_certified("")).await;
    assert_eq!(error.kind(), ErrorKind::Precondition, "{error}");
    let error = refused(&as_certified("sslcert=/no/such/file sslkey=/no/such/file")).await;
    assert_eq!(error.reason(), "BAD_CERTIFICATE", "{error}");
}

#[tokio::test]
async fn a_certificate_that_the_server_made_itself_is_trusted_when_it_is_named() {
    let itself = Authority::new();
    let server = server_with(
        &["ALTER SYSTEM SET ssl = on"],
        "hostssl all all all trust\n",
        &[
            ("server.crt", &itself.certificate()),
            ("server.key", &itself.key()),
        ],
    );
    let to = |mode: &str, root: &Authority| {
        format!(
            "host=127.0.0.1 port={} dbname=postgres user=viewfeed sslmode={mode} sslrootcert={}",
            server.port(),
            root.certificate().display()
        )
    };
    connect(&settings(&to("verify-ca", &itself))).await.unwrap();
    for connection in [to("verify-full", &itself), to("verify-ca", &Authority::new())] {
        assert_eq!(refused(&connection).await.reason(), "TLS_FAILED");
    }
}

#[tokio::test]
async fn errors_say_whether_to_retry() {
    let mut server = Postgres::start_with(&["wal_level=logical"]);
    let port = server.port();
    let error = refused(&format!("{} sslmode=require", server.connection())).await;
    assert_eq!(error.reason(), "NO_TLS");
    let error = refused(&format!(
        "host=127.0.0.1 port={port} user=viewfeed dbname=nowhere"
    ))
    .await;
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Precondition, "POSTGRES_DATABASE"),
        "{error}"
    );
    assert_eq!(refused("user=viewfeed").await.reason(), "BAD_CONNECTION");
    // A host that is not there does not matter if another is; which of them it is may be asked for.
    let connection = format!("host=127.0.0.1,127.0.0.1 port=1,{port} user=viewfeed dbname=postgres");
    connect(&settings(&connection)).await.unwrap();
    connect(&settings(&format!(
        "{connection} target_session_attrs=read-write"
    )))
    .await
    .unwrap();
    let error = refused(&format!("{connection} target_session_attrs=read-only")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let connection = server.connection();
    server.crash();
    let error = refused(&connection).await;
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Unavailable, "POSTGRES_UNAVAILABLE"),
        "{error}"
    );
}
