//! Layers, savepoints, shadows, sequences and names.

use crate::{commit, nothing, open, pairs};
use viewfeed_change::ErrorKind;
use viewfeed_store::{Store, keys};

#[test]
fn a_commit_is_seen_by_new_readers_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let before = store.reader();
    commit(&store, &[(b"k", Some(b"1"))]);
    assert_eq!(before.get(b"k").unwrap(), None);
    assert_eq!(store.reader().get(b"k").unwrap().unwrap(), b"1");
    assert_eq!((before.epoch().0, store.epoch().0), (0, 1));
}

#[test]
fn before_shows_sealed_and_now_shows_staged_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &[(b"a", Some(b"old")), (b"b", Some(b"old"))]);
    let mut txn = store.begin().unwrap();
    txn.put(b"a".to_vec(), b"sealed".to_vec());
    txn.seal();
    let sealed = txn.now();
    txn.delete(b"b".to_vec());
    txn.put(b"c".to_vec(), b"staged".to_vec());
    let see = |reader| {
        pairs(&reader, b"")
            .into_iter()
            .map(|(_, v)| String::from_utf8(v).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(see(txn.before()), ["sealed", "old"]);
    assert_eq!(see(sealed), ["sealed", "old"]);
    assert_eq!(see(txn.now()), ["sealed", "staged"]);
    assert_eq!(txn.get(b"b").unwrap(), None);
    assert_eq!(see(store.reader()), ["old", "old"]);
    store.commit(txn, &nothing()).unwrap();
    assert_eq!(see(store.reader()), ["sealed", "staged"]);
}

#[test]
fn a_rollback_undoes_what_was_staged_since_its_savepoint() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    txn.put(b"a".to_vec(), b"1".to_vec());
    let outer = txn.savepoint();
    txn.put(b"a".to_vec(), b"2".to_vec());
    txn.delete(b"b".to_vec());
    let inner = txn.savepoint();
    txn.put(b"b".to_vec(), b"3".to_vec());
    txn.rollback(inner).unwrap();
    assert_eq!(pairs(&txn.now(), b""), [(b"a".to_vec(), b"2".to_vec())]);
    let late = txn.savepoint();
    txn.rollback(outer).unwrap();
    assert_eq!(pairs(&txn.now(), b""), [(b"a".to_vec(), b"1".to_vec())]);
    assert_eq!(txn.rollback(late).unwrap_err().kind(), ErrorKind::Internal);
    let sealed = txn.savepoint();
    txn.seal();
    assert_eq!(txn.rollback(sealed).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn rounds_start_from_what_was_staged_which_for_others_stays_staged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    commit(&store, &[(b"a", Some(b"0"))]);
    let mut txn = store.begin().unwrap();
    let start = txn.savepoint();
    let see = |txn: &viewfeed_store::Txn| (txn.before().get(b"a").unwrap(), txn.get(b"a").unwrap());
    let shown = |before: &[u8], now: &[u8]| (Some(before.to_vec()), Some(now.to_vec()));
    txn.put(b"a".to_vec(), b"1".to_vec());
    txn.begin_rounds();
    assert_eq!(see(&txn), shown(b"1", b"1"));
    txn.put(b"a".to_vec(), b"2".to_vec());
    assert_eq!(see(&txn), shown(b"1", b"2"));
    txn.seal();
    txn.put(b"b".to_vec(), b"x".to_vec());
    txn.begin_rounds();
    txn.put(b"a".to_vec(), b"3".to_vec());
    assert_eq!(see(&txn), shown(b"2", b"3"));
    txn.end_rounds();
    assert_eq!(see(&txn), shown(b"2", b"3"));
    txn.end_rounds();
    assert_eq!(see(&txn), shown(b"0", b"3"));
    assert_eq!(txn.now().get(b"b").unwrap().unwrap(), b"x");
    txn.rollback(start).unwrap();
    assert_eq!(see(&txn), shown(b"0", b"0"));
}

#[test]
fn a_rollback_leaves_the_rounds_that_began_since() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    txn.put(b"a".to_vec(), b"1".to_vec());
    let start = txn.savepoint();
    txn.put(b"a".to_vec(), b"2".to_vec());
    txn.begin_rounds();
    txn.put(b"a".to_vec(), b"3".to_vec());
    txn.seal();
    txn.put(b"b".to_vec(), b"4".to_vec());
    txn.rollback(start).unwrap();
    assert_eq!(pairs(&txn.now(), b""), [(b"a".to_vec(), b"1".to_vec())]);
    assert!(pairs(&txn.before(), b"").is_empty());
    store.commit(txn, &nothing()).unwrap();
    assert_eq!(pairs(&store.reader(), b""), [(b"a".to_vec(), b"1".to_vec())]);
}

#[test]
fn there_is_one_writer_until_it_commits_or_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let txn = store.begin().unwrap();
    assert!(store.begin().is_err());
    drop(txn);
    let txn = store.begin().unwrap();
    store.commit(txn, &nothing()).unwrap();
    assert!(store.begin().is_ok());
}

#[test]
fn a_shadow_is_adopted_and_never_committed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut shadow = store.shadow();
    shadow.put(b"a".to_vec(), b"1".to_vec());
    shadow.seal();
    shadow.put(b"a".to_vec(), b"2".to_vec());
    let mut txn = store.begin().unwrap();
    let start = txn.savepoint();
    txn.adopt(shadow);
    assert_eq!(txn.get(b"a").unwrap().unwrap(), b"2");
    txn.rollback(start).unwrap();
    assert_eq!(txn.get(b"a").unwrap(), None);
    drop(txn);
    assert!(store.commit(store.shadow(), &nothing()).is_err());
    assert_eq!(store.epoch().0, 0);
}

#[test]
fn a_transaction_of_another_store_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (open(one.path()), open(two.path()));
    assert!(two.commit(one.begin().unwrap(), &nothing()).is_err());
}

#[test]
fn sequences_and_state_names_are_given_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut txn = store.begin().unwrap();
    assert_eq!(keys::advance(&mut txn, "id/1", 3).unwrap(), 1);
    assert_eq!(keys::advance(&mut txn, "id/1", 1).unwrap(), 4);
    let (a, a_is_new) = keys::allocate(&mut txn, "a").unwrap();
    let (b, _) = keys::allocate(&mut txn, "b").unwrap();
    assert!(a_is_new && a != b);
    assert_eq!(keys::allocate(&mut txn, "a").unwrap(), (a, false));
    keys::release(&mut txn, "a").unwrap();
    keys::release(&mut txn, "never").unwrap();
    let (again, is_new) = keys::allocate(&mut txn, "a").unwrap();
    assert!(is_new && again != a && again != b);
    store.commit(txn, &nothing()).unwrap();
    assert_eq!(keys::find(&store.reader(), "b").unwrap(), Some(b));
    let mut txn = store.begin().unwrap();
    assert_eq!(keys::advance(&mut txn, "id/1", 1).unwrap(), 5);
    let all = keys::advance(&mut txn, "id/1", u64::MAX).unwrap_err();
    assert_eq!(all.reason(), "SEQUENCE_EXHAUSTED");
}

#[test]
fn a_second_store_on_the_same_folder_is_refused() {
    let _guard = crate::without_forks();
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let error = Store::open(dir.path(), crate::relaxed()).err().unwrap();
    assert_eq!(
        (error.kind(), error.reason()),
        (ErrorKind::Unavailable, "DATA_DIR_LOCKED")
    );
    drop(store);
    open(dir.path());
}

#[test]
fn an_open_store_finds_everything_with_and_without_a_checkpoint() {
    let _guard = crate::without_forks();
    let dir = tempfile::tempdir().unwrap();
    for round in 0..6u8 {
        let store = open(dir.path());
        assert_eq!(store.epoch().0, u64::from(round));
        assert_eq!(pairs(&store.reader(), b"k").len(), usize::from(round));
        commit(&store, &[(&[b'k', round], Some(&[round]))]);
        if round % 2 == 0 {
            store.checkpoint().unwrap();
        }
    }
}

#[test]
fn entries_of_a_released_state_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let kv = std::sync::Arc::new(viewfeed_store::MemoryKv::default());
    let store = Store::open_over(dir.path(), &crate::relaxed(), kv.clone()).unwrap();
    let mut txn = store.begin().unwrap();
    let (gone, _) = keys::allocate(&mut txn, "gone").unwrap();
    let (kept, _) = keys::allocate(&mut txn, "kept").unwrap();
    for state in [gone, kept] {
        for n in 0..3000u32 {
            let key = [keys::arrangement_prefix(state), n.to_be_bytes().to_vec()].concat();
            txn.put(key, Vec::new());
        }
        txn.put(keys::operator_prefix(state), Vec::new());
    }
    store.commit(txn, &nothing()).unwrap();
    store.checkpoint().unwrap();
    let held = store.reader();
    let mut txn = store.begin().unwrap();
    keys::release(&mut txn, "gone").unwrap();
    store.commit(txn, &nothing()).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(pairs(&held, &keys::arrangement_prefix(gone)).len(), 3000);
    drop(held);
    store.checkpoint().unwrap();
    let in_kv = |prefix: &[u8]| {
        use viewfeed_store::Kv;
        kv.scan(b"", None, usize::MAX)
            .unwrap()
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .count()
    };
    assert_eq!(
        in_kv(&keys::arrangement_prefix(gone)) + in_kv(&keys::operator_prefix(gone)) + in_kv(b"g"),
        0
    );
    assert_eq!(
        in_kv(&keys::arrangement_prefix(kept)) + in_kv(&keys::operator_prefix(kept)),
        3001
    );
}
