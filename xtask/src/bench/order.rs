//! Orders and middles.

/// All numbers below `count` in an order that no prefetcher guesses (Fisher and Yates).
pub(super) fn shuffled(count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    let mut random = 1u64;
    for n in (1..order.len()).rev() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(n, (random >> 33) as usize % (n + 1));
    }
    order
}

/// The median, the least and the most of some values; `None` of none.
pub(super) fn middle(values: impl IntoIterator<Item = f64>) -> Option<[f64; 3]> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    Some([*sorted.get(sorted.len() / 2)?, *sorted.first()?, *sorted.last()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_each_number_once() {
        let mut order = shuffled(1000);
        assert!(!order.is_sorted());
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }

    #[test]
    fn the_middle_lies_between_the_ends() {
        assert_eq!(middle([3.0, 1.0, 2.0]), Some([2.0, 1.0, 3.0]));
        assert_eq!(middle([]), None);
    }
}
