use secrecy::SecretString;

use super::*;
use crate::database::Owner;
use crate::database::mark::RoleMark;

fn owner(namespace: &str, name: &str) -> Owner {
    Owner {
        uid: format!("uid-{namespace}-{name}"),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn claim(owner: &Owner, prefix: &str) -> Claim {
    Claim {
        database: "shared".to_owned(),
        role: format!("role_{}", owner.name),
        table_prefix: prefix.to_owned(),
        password: SecretString::from("secret"),
        owner: owner.clone(),
        adopt: false,
    }
}

fn found(role: Option<Option<RoleMark>>, mark: Option<Option<DatabaseMark>>) -> Found {
    Found {
        superuser: true,
        role: role.map(|mark| FoundRole { mark, mighty: false }),
        database: mark.map(|mark| FoundDatabase {
            mark,
            owned_by_role: false,
        }),
        staging: "staging".to_owned(),
        staged: false,
    }
}

fn held(claims: &[&Claim]) -> DatabaseMark {
    claims
        .iter()
        .fold(DatabaseMark::new(false), |mark, claim| mark.with(claim))
}

fn steps(claim: &Claim, found: &Found) -> (RoleStep, DatabaseStep) {
    let plan = plan(claim, found).expect("allowed");
    assert!(plan.mark.holds(claim));
    (plan.role, plan.database)
}

#[test]
fn empty_server_gives_a_new_role_and_database() {
    let claim = claim(&owner("a", "one"), "one_");
    assert_eq!(
        steps(&claim, &found(None, None)),
        (RoleStep::Create, DatabaseStep::Create)
    );
}

#[test]
fn own_marks_give_nothing_to_do() {
    let one = owner("a", "one");
    let claim = claim(&one, "one_");
    let found = found(Some(Some(RoleMark::new(&one))), Some(Some(held(&[&claim]))));
    assert_eq!(steps(&claim, &found), (RoleStep::Keep, DatabaseStep::Keep));
}

#[test]
fn same_name_with_a_new_uid_takes_its_own_up_again_once_proven() {
    let before = owner("a", "one");
    let after = Owner {
        uid: "later".to_owned(),
        ..before.clone()
    };
    let (old, new) = (claim(&before, "one_"), claim(&after, "one_"));
    let found = found(Some(Some(RoleMark::new(&before))), Some(Some(held(&[&old]))));
    assert_eq!(steps(&new, &found), (RoleStep::Remark, DatabaseStep::Remark));
    let Plan { mark, namesake, .. } = plan(&new, &found).expect("allowed");
    let namesake = namesake.expect("to be proven");
    assert!(namesake.has_role_of(&new));
    let refusal = namesake.refusal(&new).to_string();
    for told in ["a/one (uid uid-a-one)", "another cluster", "adopt: true"] {
        assert!(refusal.contains(told), "{refusal}");
    }
    assert_eq!(
        mark.claims.iter().map(|held| held.uid.as_str()).collect::<Vec<_>>(),
        ["later"]
    );
}

#[test]
fn only_marks_of_another_uid_are_to_be_proven_and_none_with_adopt() {
    let before = owner("a", "one");
    let after = Owner {
        uid: "later".to_owned(),
        ..before.clone()
    };
    let other_role = |mut claim: Claim| {
        claim.role = "another".to_owned();
        claim
    };
    let (old, new) = (claim(&before, "one_"), claim(&after, "one_"));
    let (of_old, of_new) = (Some(Some(RoleMark::new(&before))), Some(Some(RoleMark::new(&after))));
    let mark = |claim: &Claim| Some(Some(held(&[claim])));
    // What is found, and whether a login as the claim's role proves anything; None when there is nothing to prove.
    let cases = [
        (found(of_new.clone(), mark(&new)), None),
        (found(None, mark(&claim(&after, "one_more_"))), None),
        (found(None, mark(&claim(&before, "two_"))), None),
        (found(of_old.clone(), None), Some(true)),
        (found(of_old, mark(&new)), Some(true)),
        (found(None, mark(&old)), Some(true)),
        (found(of_new.clone(), mark(&claim(&before, "one_more_"))), Some(true)),
        (found(of_new, mark(&other_role(old))), Some(false)),
    ];
    for (number, (found, provable)) in cases.iter().enumerate() {
        let namesake = plan(&new, found).expect("allowed").namesake;
        assert_eq!(
            namesake.map(|namesake| namesake.has_role_of(&new)),
            *provable,
            "{number}"
        );
        let adopting = Claim {
            adopt: true,
            ..new.clone()
        };
        assert_eq!(plan(&adopting, found).expect("allowed").namesake, None, "{number}");
    }
}

#[test]
fn unmarked_things_are_taken_only_with_adopt() {
    let mut claim = claim(&owner("a", "one"), "one_");
    assert!(matches!(
        plan(&claim, &found(None, Some(None))),
        Err(DatabaseError::Unmarked { .. })
    ));
    assert!(matches!(
        plan(&claim, &found(Some(None), None)),
        Err(DatabaseError::RoleTaken { .. })
    ));
    claim.adopt = true;
    assert_eq!(
        steps(&claim, &found(Some(None), Some(None))),
        (RoleStep::Adopt, DatabaseStep::Adopt)
    );
    assert!(plan(&claim, &found(None, Some(None))).expect("allowed").mark.adopted);
}

#[test]
fn adopt_never_takes_a_mighty_role() {
    let mut claim = claim(&owner("a", "one"), "one_");
    claim.adopt = true;
    let mut found = found(Some(None), None);
    found.role = Some(FoundRole {
        mark: None,
        mighty: true,
    });
    assert!(matches!(plan(&claim, &found), Err(DatabaseError::RoleTaken { .. })));
}

#[test]
fn foreign_claims_are_refused_by_name_also_with_adopt() {
    let (one, two, elsewhere) = (owner("a", "one"), owner("a", "two"), owner("b", "one"));
    let mark = Some(Some(held(&[&claim(&one, "one_")])));
    // Who asks, for which prefix, and what the refusal speaks of; None when it is let in.
    let cases = [
        (&two, "one_", Some("prefix")),
        (&two, "one_more_", Some("prefix")),
        (&two, "on", Some("prefix")),
        (&elsewhere, "one_", Some("prefix")),
        (&elsewhere, "two_", Some("database")),
        (&two, "two_", None),
    ];
    for (who, prefix, refusal) in cases {
        let mut claim = claim(who, prefix);
        claim.role = format!("role_{}_{}", who.namespace, who.name);
        claim.adopt = true;
        match (plan(&claim, &found(None, mark.clone())), refusal) {
            (Ok(plan), None) => assert_eq!((plan.database, plan.mark.claims.len()), (DatabaseStep::Join, 2)),
            (Err(DatabaseError::OwnedByOther { what, owner }), Some(word)) => {
                assert!(what.contains(word), "{what}");
                assert_eq!(owner, "a/one");
            }
            (other, _) => panic!("{who} {prefix}: {other:?}"),
        }
    }
}

#[test]
fn role_of_another_element_is_refused_by_name() {
    let found = found(Some(Some(RoleMark::new(&owner("b", "other")))), None);
    let error = plan(&claim(&owner("a", "one"), "one_"), &found).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "failed to claim role \"role_one\": it belongs to b/other"
    );
}

#[test]
fn farewell_drops_the_database_only_when_it_is_ours_alone() {
    let (one, two) = (owner("a", "one"), owner("a", "two"));
    let (mine, other) = (claim(&one, "one_"), claim(&two, "two_"));
    let role = Some(Some(RoleMark::new(&one)));
    let say = |mark| farewell(&mine, &found(role.clone(), mark));

    let alone = say(Some(Some(held(&[&mine]))));
    assert_eq!(
        alone,
        Farewell {
            database: DatabaseFarewell::Drop,
            drop_role: true
        }
    );
    let shared = say(Some(Some(held(&[&mine, &other]))));
    assert_eq!(shared.database, DatabaseFarewell::DropPrefix(held(&[&other])));
    let adopted = say(Some(Some(DatabaseMark::new(true).with(&mine))));
    assert_eq!(adopted.database, DatabaseFarewell::DropPrefix(DatabaseMark::new(true)));
    for nothing in [None, Some(None), Some(Some(held(&[&other])))] {
        assert_eq!(
            say(nothing),
            Farewell {
                database: DatabaseFarewell::Leave,
                drop_role: true
            }
        );
    }
}

#[test]
fn farewell_leaves_what_is_marked_with_another_uid() {
    let before = owner("a", "one");
    let after = Owner {
        uid: "later".to_owned(),
        ..before.clone()
    };
    let (old, new) = (claim(&before, "one_"), claim(&after, "one_"));
    for role in [&before, &after] {
        let found = found(Some(Some(RoleMark::new(role))), Some(Some(held(&[&old]))));
        let nothing = Farewell {
            database: DatabaseFarewell::Leave,
            drop_role: false,
        };
        assert_eq!(farewell(&new, &found), nothing, "role of {}", role.uid);
    }
}

#[test]
fn farewell_keeps_a_role_that_is_not_ours_or_still_needed() {
    let one = owner("a", "one");
    let (mine, earlier) = (claim(&one, "one_"), claim(&one, "old_"));
    for role in [None, Some(None), Some(Some(RoleMark::new(&owner("b", "one"))))] {
        assert!(!farewell(&mine, &found(role, None)).drop_role);
    }
    let both = found(Some(Some(RoleMark::new(&one))), Some(Some(held(&[&mine, &earlier]))));
    assert!(!farewell(&mine, &both).drop_role);
}

#[test]
fn mark_of_ours_that_cannot_be_read_is_not_unmarked() {
    assert_eq!(DatabaseMark::read(None).expect("readable"), None);
    assert_eq!(DatabaseMark::read(Some("my database")).expect("readable"), None);
    assert_eq!(
        DatabaseMark::read(Some(r#"{"managedBy":"me"}"#)).expect("readable"),
        None
    );
    let newer = r#"{"managedBy":"artstore-operator","holders":[]}"#;
    assert!(matches!(
        DatabaseMark::read(Some(newer)),
        Err(DatabaseError::Invalid { .. })
    ));
    let mark = held(&[&claim(&owner("a", "it's"), "one_")]);
    assert_eq!(DatabaseMark::read(Some(&mark.to_text())).expect("readable"), Some(mark));
}
