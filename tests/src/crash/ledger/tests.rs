use super::*;

fn intent(name: &str) -> Intent {
    Intent::Create {
        name: name.to_owned(),
        checksum: "c".to_owned(),
    }
}

fn create(name: &str) -> Mark {
    Mark::Begun(intent(name))
}

fn created(name: &str) -> Mark {
    Mark::Ended(intent(name), Outcome::Done(Some(file(1))))
}

fn patch(name: &str) -> Mark {
    Mark::Begun(Intent::Patch {
        name: name.to_owned(),
        description: "d2".to_owned(),
    })
}

fn file(revision: i64) -> Box<FileMetadata> {
    let document = serde_json::json!({
        "schema_version": "1", "file_id": uuid::Uuid::nil(), "original_filename": "a", "storage_filename": "a",
        "storage_path": "a", "file_size": 1, "content_type": "x/y", "checksum": "c",
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "created_by_id": "u",
        "created_by_username": "u", "revision": revision, "description": format!("d{revision}"),
    });
    serde_json::from_value(document).unwrap()
}

fn expected(marks: &[Mark]) -> Expectations {
    Expectations::of(Mode::Edit, marks)
}

#[test]
fn file_without_an_answer_may_be_there_and_one_with_an_answer_must_be_as_promised() {
    let expected = expected(&[create("a"), create("b"), created("a")]);
    let (first, second) = (&expected.files["a"], &expected.files["b"]);
    assert_eq!((first.presence, second.presence), (Presence::Must, Presence::May));
    assert!(first.allows(&file(1)) && !first.allows(&file(2)));
    assert!(second.allows(&file(2)));
}

#[test]
fn unanswered_patch_allows_the_old_look_and_the_new() {
    let expected = &expected(&[create("a"), created("a"), patch("a")]).files["a"];
    assert!(expected.allows(&file(1)) && expected.allows(&file(2)) && !expected.allows(&file(3)));
}

#[test]
fn mode_is_the_first_or_the_last_acknowledged_or_one_asked_for_since() {
    let asked = |mode| Mark::Begun(Intent::Mode(mode));
    let mut marks = Vec::new();
    assert_eq!(expected(&marks).modes, [Mode::Edit]);
    marks.push(asked(Mode::Ro));
    assert_eq!(expected(&marks).modes, [Mode::Edit, Mode::Ro]);
    marks.push(Mark::Ended(Intent::Mode(Mode::Ro), Outcome::Done(None)));
    marks.push(asked(Mode::Rw));
    assert_eq!(expected(&marks).modes, [Mode::Ro, Mode::Rw]);
}

#[test]
fn deleted_file_is_never_there_and_an_unanswered_delete_may_have_happened() {
    let delete = Intent::Delete { name: "a".to_owned() };
    let mut marks = vec![create("a"), created("a"), Mark::Begun(delete.clone())];
    assert_eq!(expected(&marks).files["a"].presence, Presence::May);
    marks.push(Mark::Ended(delete, Outcome::Done(None)));
    assert_eq!(expected(&marks).files["a"].presence, Presence::Never);
}

#[test]
fn what_a_ready_element_shows_is_promised_and_what_it_does_not_show_is_gone() {
    let mut marks = vec![create("a"), created("a"), patch("a"), create("b")];
    marks.push(Mark::Begun(Intent::Mode(Mode::Ro)));
    marks.push(Mark::Found {
        files: vec![*file(2)],
        mode: Mode::Ro,
    });
    let expected = expected(&marks);
    let (first, second) = (&expected.files["a"], &expected.files["b"]);
    assert_eq!((first.presence, second.presence), (Presence::Must, Presence::Never));
    assert!(first.allows(&file(2)) && !first.allows(&file(1)));
    assert_eq!(expected.modes, [Mode::Ro]);
}

#[test]
fn acknowledged_file_stays_promised_though_a_ready_element_does_not_show_it() {
    let found = Mark::Found {
        files: Vec::new(),
        mode: Mode::Ar,
    };
    let expected = expected(&[create("a"), created("a"), found]);
    assert_eq!(expected.files["a"].presence, Presence::Must);
    assert_eq!(expected.modes, [Mode::Edit]);
}
