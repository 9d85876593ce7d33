//! Did you mean …?

/// Whether one letter too many, too few, other, or two swapped make the difference.
pub(crate) fn is_near(a: &str, b: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let prefix = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let swapped = a.len() >= 2 && b.len() >= 2 && a[0] == b[1] && a[1] == b[0] && a[2..] == b[2..];
    swapped
        || (!a.is_empty() && a[1..] == *b)
        || (!b.is_empty() && b[1..] == *a)
        || (!a.is_empty() && !b.is_empty() && a[1..] == b[1..])
}
