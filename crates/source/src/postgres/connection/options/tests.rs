//! What connection strings mean, in both forms.

use super::*;
use tokio_postgres::config::Host;

fn hosts(options: &Options) -> Vec<String> {
    let name = |host: &Host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    };
    options.config.get_hosts().iter().map(name).collect()
}

#[test]
fn keywords_and_urls_say_the_same() {
    for text in [
        "host=a,b port=1,2 user=u password='p w?@' dbname=d sslmode = verify-full sslrootcert='/a b/root.crt' \
         sslcert=/c sslkey=/k target_session_attrs=read-write client_encoding=UTF8",
        "postgresql://u:p%20w%3F%40@a:1,b:2/d?sslmode=verify-full&sslrootcert=%2Fa%20b/root.crt&sslcert=/c&sslkey=/k\
         &target_session_attrs=read-write&gssencmode=disable",
    ] {
        let options = parse(text).unwrap();
        assert_eq!(hosts(&options), ["a", "b"]);
        assert_eq!(options.config.get_ports(), [1, 2]);
        assert_eq!(options.config.get_user(), Some("u"));
        assert_eq!(options.config.get_password(), Some(&b"p w?@"[..]));
        assert_eq!(options.config.get_dbname(), Some("d"));
        assert_eq!(options.mode, Mode::VerifyFull);
        assert_eq!(options.roots, Roots::File("/a b/root.crt".into()));
        assert_eq!(options.certificate, Some("/c".into()));
        assert_eq!(options.key, Some("/k".into()));
    }
}

#[test]
fn a_backslash_and_apostrophes_keep_a_password_whole() {
    let options = parse(r"host=a password='it\'s a \\ = one' user=x\ y").unwrap();
    assert_eq!(options.config.get_password(), Some(&br"it's a \ = one"[..]));
    assert_eq!(options.config.get_user(), Some("x y"));
    let options = parse("postgres://u:a?b@h/d?sslmode=disable").unwrap();
    assert_eq!(options.config.get_password(), Some(&b"a?b"[..]));
    assert_eq!(options.mode, Mode::Disable);
}

#[test]
fn modes_follow_from_what_is_trusted_as_in_libpq() {
    for (text, mode) in [
        ("host=a", Mode::Prefer),
        ("host=a sslmode=require", Mode::Require),
        ("host=a sslmode=require sslrootcert=/r", Mode::VerifyAuthority),
        ("host=a sslmode=verify-ca", Mode::VerifyAuthority),
        ("host=a sslrootcert=system", Mode::VerifyFull),
        ("host=a sslmode=require sslnegotiation=direct", Mode::Require),
    ] {
        assert_eq!(parse(text).unwrap().mode, mode, "{text}");
    }
    for text in [
        "host=a sslmode=verify-ca sslrootcert=system",
        "host=a sslnegotiation=direct",
        "host=a sslmode=verify-everything",
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn errors_name_options_and_never_values() {
    for text in [
        "host=a password=my secret",
        "host=a password=my SECRET=x",
        "host=a password='secret",
        "host=a port=secret",
        "host=a sslmode=secret",
        "postgres://u:p@a/d?port=secret",
        "postgres://u:secret@a:secret/d",
        "postgres://u:p@a/d?sslrootcert=%secret",
        "postgres://u:p@a/d?secret",
    ] {
        let Err(error) = parse(text) else {
            panic!("{text} is read");
        };
        assert!(
            !error.to_string().to_lowercase().contains("secret"),
            "{text}: {error}"
        );
    }
    let Err(error) = parse("host=a sslcrl=/x") else {
        panic!("an unknown option is passed over");
    };
    assert!(error.message().contains("`sslcrl`"), "{error}");
}
