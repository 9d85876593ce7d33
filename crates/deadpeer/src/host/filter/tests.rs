use proptest::prelude::*;

use super::*;

fn place(text: &str) -> Place {
    match &Filter::parse([format!("peer:{text}")]).unwrap().wanted[0].1[0] {
        Term::Peer(place) => *place,
        other => panic!("{other:?}"),
    }
}

#[test]
fn places() {
    let at = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(place("10.0.0.0/8").contains(at("10.9.8.7:1")));
    assert!(!place("10.0.0.0/8").contains(at("11.0.0.0:1")));
    assert!(place("0.0.0.0/0").contains(at("11.0.0.0:1")));
    assert!(!place("0.0.0.0/0").contains(at("[::1]:1")));
    assert!(place("2001:db8::/32").contains(at("[2001:db8:1::5]:443")));
    assert!(place("[2001:db8::1]:443").contains(at("[2001:db8::1]:443")));
    assert!(!place("[2001:db8::1]:443").contains(at("[2001:db8::1]:80")));
    assert!(place("::1").contains(at("[::1]:80")));
    assert!(place(":80").contains(at("1.2.3.4:80")));
    assert!(place(":80-90").contains(at("1.2.3.4:85")));
}

#[test]
fn patterns() {
    let matches = |pattern: &str, text: &str| Pattern(pattern.into()).matches(text);
    assert!(matches("nginx", "nginx") && !matches("nginx", "nginx2"));
    assert!(matches("post*", "postgres") && matches("*gres", "postgres") && matches("p*t*s", "postgres"));
    assert!(!matches("p*x*s", "postgres"));
    assert!(matches("*", "") && matches("a*a", "aa") && !matches("a*a", "a"));
}

#[test]
fn errors_say_what_there_is() {
    let message = |term: &str| Filter::parse([term]).unwrap_err().to_string();
    assert!(message("5432").contains("KEY:VALUE"));
    assert!(message("prot:5432").contains("did you mean `port`"));
    assert!(message("state:open").contains("close-wait"));
    assert!(message("verdict:dying").contains("suspect"));
    assert!(message("port:70000").contains("port:8000-8010"));
    assert!(message("port:90-80").contains("`90-80` is no port"));
    assert!(message("peer:10.0.0.0/33").contains("is no peer"));
    assert!(message("pid:").contains("empty"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,40}") {
        let _ = Filter::parse([&text]).map_err(|error| error.to_string());
    }

    #[test]
    fn nor_does_a_known_key(
        key in "!?(port|peer|local|pid|process|uid|unit|state|verdict|netns)",
        value in "[0-9a-f:./,*\\[\\]-]{0,20}",
    ) {
        let _ = Filter::parse([format!("{key}:{value}")]).map_err(|error| error.to_string());
    }
}
