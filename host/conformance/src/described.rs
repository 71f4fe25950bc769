//! What holds for a policy of any kind, for kinds without cases of their own.

use engine::port::Description;
use model::{PolicyFault, PolicyKind};

use crate::describe;
use crate::law::Law;
use crate::report::{Book, Report};

/// Makes a fresh, configured instance and gives its description. The text is its
/// settings; settings it does not accept end in [`PolicyFault::Refused`].
pub type MakeDescription<'a> = dyn FnMut(&str) -> Result<Description, PolicyFault> + 'a;

/// Puts a policy through the laws of description and settings, and says that its
/// answers were not looked at.
pub fn check_described(kind: PolicyKind, make: &mut MakeDescription<'_>) -> Report {
    let mut book = Book::default();
    describe::introduce(kind, make, &mut book);
    let none = format!("this kit has no cases for {kind} policies");
    book.skip(Law::Answer, "every case", &none);
    book.report()
}
