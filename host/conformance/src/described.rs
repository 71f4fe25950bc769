//! What holds for a policy of any kind: it describes itself in the contract's
//! terms and takes settings as its schema says. For kinds that have no cases of
//! their own.

use engine::port::Description;
use model::{PolicyFault, PolicyKind};

use crate::describe;
use crate::report::{Book, Broken, Law, Report};

/// Makes a fresh, configured instance and gives its description. The text is its
/// settings; settings it does not accept end in [`PolicyFault::Refused`].
pub type MakeDescription<'a> = dyn FnMut(&str) -> Result<Description, PolicyFault> + 'a;

/// Puts a policy through the laws of description and settings, and says that its
/// answers were not looked at.
pub fn check_described(kind: PolicyKind, make: &mut MakeDescription<'_>) -> Report {
    let mut book = Book::default();
    // The schema names the defaults, and only an instance knows the schema.
    let first = match make("{}") {
        Ok(first) => first,
        Err(fault) => {
            book.note(Law::Settings, "defaults", Err(fault.into()));
            return book.report();
        }
    };
    let described = twice_the_same(kind, &first, make);
    book.note(Law::Describe, "description", described);
    let settings = describe::default_settings(&first.settings_schema);
    let accepted = make(&settings).map(drop).map_err(Broken::from);
    book.note(Law::Settings, "defaults", accepted);
    for (case, bad) in describe::bad_settings(&first.settings_schema) {
        let result = describe::refused(bad, make(bad));
        book.note(Law::Settings, case, result);
    }
    let none = format!("this kit has no cases for {kind} policies");
    book.skip(Law::Answer, "every case", &none);
    book.report()
}

fn twice_the_same(
    kind: PolicyKind,
    first: &Description,
    make: &mut MakeDescription<'_>,
) -> Result<(), Broken> {
    describe::check(first, kind)?;
    if make("{}")? == *first {
        Ok(())
    } else {
        Err(Broken::Law(
            "two instances describe themselves differently".to_owned(),
        ))
    }
}
