use super::*;

/// Splits an example the way a shell does, as far as examples go.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().expect("one word at least").push(c),
        }
    }
    assert_eq!(quote, None, "an open quote in {line:?}");
    words.retain(|w| !w.is_empty());
    words
}

fn every_command(command: &clap::Command, path: &str, check: &mut dyn FnMut(&str, &clap::Command)) {
    check(path, command);
    for sub in command.get_subcommands().filter(|s| s.get_name() != "help") {
        every_command(sub, &format!("{path} {}", sub.get_name()), check);
    }
}

#[test]
fn the_tree_is_consistent() {
    command().debug_assert();
}

#[test]
fn every_help_ends_with_two_examples_that_parse() {
    every_command(&command(), "loadmaster", &mut |path, command| {
        let help = command
            .get_after_help()
            .unwrap_or_else(|| panic!("{path} --help has no examples"))
            .to_string();
        let (_, examples) = help
            .split_once("Examples:\n")
            .unwrap_or_else(|| panic!("{path} --help has no examples"));
        let examples: Vec<&str> = examples.lines().map(str::trim).collect();
        assert!(examples.len() >= 2, "{path} --help has {examples:?}");
        for example in examples {
            // What comes before a pipe or after one is another program.
            let ours = example
                .split(" | ")
                .find(|part| part.starts_with("loadmaster "))
                .unwrap_or_else(|| panic!("not an example: {example:?}"));
            let parsed = super::command().try_get_matches_from(words(ours));
            assert!(
                parsed.is_ok(),
                "{example:?} of {path}: {}",
                parsed.unwrap_err()
            );
        }
    });
}

#[test]
fn every_option_says_what_it_is_for() {
    every_command(&command(), "loadmaster", &mut |path, command| {
        assert!(command.get_about().is_some(), "{path} has no description");
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some(),
                "{path} {} has no help",
                arg.get_id()
            );
        }
    });
}
