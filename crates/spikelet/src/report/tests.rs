use super::*;

fn report() -> Report {
    Report {
        title: "L2MU <braille> & \"friends\"".into(),
        summary: vec![("accuracy".into(), "94.3 %".into())],
        charts: vec![Chart {
            title: "Loss".into(),
            x_axis: "epoch".into(),
            lines: vec![Line {
                name: "training".into(),
                points: vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 0.5)],
            }],
        }],
        confusion: Some(Confusion {
            classes: vec!["A".into(), "<b>".into()],
            counts: vec![vec![3, 1], vec![0, 0]],
        }),
        confusion_of: "validation".into(),
        rasters: vec![Raster {
            name: "h".into(),
            steps: 4,
            neurons: 3,
            spikes: vec![(0, 0), (3, 2)],
        }],
        raster_of: "sample 0".into(),
        rates: vec![Rates { name: "h".into(), per_neuron: vec![0.0, 0.25, 0.5] }],
        config: "seed = 1\n".into(),
    }
}

/// Every tag that is opened is closed, in order: enough to catch a malformed page.
fn assert_balanced(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1).map(|rest| rest.split('>').next().expect("a tag")) {
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().expect("a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name.to_owned()), "{tag}");
        } else if !tag.ends_with('/') && !tag.starts_with('!') && name != "meta" {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn the_page_is_self_contained_and_well_formed() {
    let html = report().html();
    assert_balanced(&html);
    assert!(!html.contains("<script") && !html.contains("src=") && !html.contains("href="));
    let addresses: Vec<&str> =
        html.match_indices("http").map(|(at, _)| &html[at..at + 26]).collect();
    assert!(addresses.iter().all(|address| *address == "http://www.w3.org/2000/svg"));
}

#[test]
fn names_are_escaped_and_nan_is_left_out() {
    let html = report().html();
    assert!(html.contains("L2MU &lt;braille&gt; &amp; &quot;friends&quot;"));
    assert!(!html.contains("<b>"));
    assert!(!html.contains("NaN"));
}

#[test]
fn an_empty_report_is_a_page() {
    assert_balanced(&Report::default().html());
    let empty = Report {
        charts: vec![Chart { title: String::new(), x_axis: String::new(), lines: vec![] }],
        confusion: Some(Confusion { classes: vec![], counts: vec![] }),
        rasters: vec![Raster { name: String::new(), steps: 0, neurons: 0, spikes: vec![] }],
        rates: vec![Rates { name: String::new(), per_neuron: vec![] }],
        ..Report::default()
    };
    let html = empty.html();
    assert_balanced(&html);
    assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
}

#[test]
fn a_large_population_makes_no_large_page() {
    let neurons = 100_000;
    let spikes = (0..10).flat_map(|t| (0..neurons).map(move |i| (t, i))).collect();
    let raster = Raster { name: "conv".into(), steps: 10, neurons: neurons as usize, spikes };
    let page = Report { rasters: vec![raster], ..Report::default() }.html();
    assert!(page.contains("1000000 spikes") && page.len() < 200_000, "{}", page.len());
}

#[test]
fn ticks_are_round_and_inside() {
    assert_eq!(svg::ticks(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(svg::ticks(0.3, 0.3, 5), [0.3]);
    assert_eq!(svg::ticks(0.0, f64::NAN, 5), [0.0]);
    for tick in svg::ticks(-0.37, 12.1, 7) {
        assert!((-0.37..=12.1).contains(&tick));
    }
    assert_eq!(svg::number(0.25), "0.25");
    assert_eq!(svg::number(2.0), "2");
    assert_eq!(svg::number(1e-5), "1e-5");
}
