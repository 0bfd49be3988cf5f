//! Finding files.

use serde_json::Value;

use crate::harness::{Element, Setup};

async fn names(element: &Element, query: &str) -> Vec<String> {
    let page = element.client.json(&format!("/files/search?{query}")).await;
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], Value::from(items.len()), "{query}");
    let mut names: Vec<_> = items
        .iter()
        .map(|file| file["original_filename"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_filter_finds_its_files() {
    for setup in Setup::each().await {
        let element = setup.start().await;
        for (name, size, fields) in [
            (
                "Annual Report 2026.pdf",
                10,
                vec![
                    ("tags", "finance,final"),
                    ("metadata", r#"{"project":"alpha","pages":12}"#),
                ],
            ),
            (
                "Отчёт.txt",
                200,
                vec![("description", "годовой отчёт"), ("tags", "finance")],
            ),
            (
                "photo.png",
                3000,
                vec![("metadata", r#"{"project":"beta","public":true}"#)],
            ),
        ] {
            element.client.upload(name, &vec![1; size], &fields).await.expect(201);
        }
        let (report, cyrillic, photo) = ("Annual Report 2026.pdf", "Отчёт.txt", "photo.png");
        for (query, expected) in [
            ("", vec![report, cyrillic, photo]),
            ("q=report", vec![report]),
            ("q=REPORT%20annual", vec![report]),
            ("q=repo", vec![report]),
            ("q=%D0%B3%D0%BE%D0%B4%D0%BE%D0%B2%D0%BE%D0%B9", vec![cyrillic]),
            ("q=finance", vec![report, cyrillic]),
            ("q=nothing", vec![]),
            ("tags=finance", vec![report, cyrillic]),
            ("tags=finance,final", vec![report]),
            ("tags=finance&tags=final", vec![report]),
            ("uploaded_by=admin-name", vec![report, cyrillic, photo]),
            ("uploaded_by=nobody", vec![]),
            ("content_type=image/png", vec![photo]),
            ("min_size=200", vec![cyrillic, photo]),
            ("max_size=200", vec![report, cyrillic]),
            ("min_size=11&max_size=2999", vec![cyrillic]),
            ("created_after=2020-01-01", vec![report, cyrillic, photo]),
            ("created_before=2020-01-01T00:00:00Z", vec![]),
            ("metadata.project=alpha", vec![report]),
            ("metadata.pages=12", vec![report]),
            ("metadata.public=true", vec![photo]),
            ("metadata.project=alpha&metadata.pages=13", vec![]),
            ("q='%3B+DROP+TABLE%3B--", vec![]),
            ("tags=%27%29%20OR%201=1--", vec![]),
            ("metadata.%22%27=x", vec![]),
        ] {
            let mut expected = expected;
            expected.sort_unstable();
            assert_eq!(names(&element, query).await, expected, "{query}");
        }
    }
}

#[tokio::test]
async fn pages_cover_everything_once_in_every_order() {
    for setup in Setup::both().await {
        let element = setup.start().await;
        for number in 0..7 {
            element
                .client
                .store(&format!("file-{number}.txt"), &vec![1; 10 * (number % 3)])
                .await;
        }
        for sort in ["created_at", "file_size", "original_filename"] {
            for order in ["asc", "desc"] {
                let mut seen = Vec::new();
                let mut cursor = String::new();
                loop {
                    let page = element
                        .client
                        .json(&format!("/files?sort={sort}&order={order}&limit=3{cursor}"))
                        .await;
                    assert_eq!(page["total"], 7);
                    seen.extend(
                        page["items"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .map(|file| file["original_filename"].clone()),
                    );
                    match page["next_cursor"].as_str() {
                        Some(next) => cursor = format!("&cursor={next}"),
                        None => break,
                    }
                }
                assert_eq!(seen.len(), 7, "{sort} {order}: {seen:?}");
                seen.sort_by_key(|name| name.to_string());
                seen.dedup();
                assert_eq!(seen.len(), 7, "{sort} {order}");
            }
        }
    }
}

#[tokio::test]
async fn malformed_queries_are_refused() {
    let setup = Setup::embedded();
    let element = setup.start().await;
    element.client.store("a.txt", b"abc").await;
    element.client.store("b.txt", b"abc").await;
    let page = element.client.json("/files?limit=1").await;
    let many_words = format!("q={}", ["w"; 65].join("+"));
    let other_order = format!("limit=1&order=asc&cursor={}", page["next_cursor"].as_str().unwrap());
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "min_size=-1",
        "created_after=yesterday",
        "sort=name",
        "order=up",
        "cursor=zzz",
        "colour=red",
        "metadata.=x",
        "limit=1&limit=2",
        "q=%FF",
        "tags=%00",
        &many_words,
        &other_order,
    ] {
        let answer = element.client.get(&format!("/files/search?{query}")).await;
        answer.expect_problem(400, "VALIDATION_ERROR");
    }
    assert_eq!(
        element
            .client
            .json(&format!("/files/search?q={}", ["a"; 64].join("+")))
            .await["total"],
        1
    );
    element
        .client
        .get("/files?q=a")
        .await
        .expect_problem(400, "VALIDATION_ERROR");
}
