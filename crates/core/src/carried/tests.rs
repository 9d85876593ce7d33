//! Two ends over simulated queues, with events of any kind at any moment.

#[path = "world.rs"]
mod world;

use proptest::prelude::*;

use super::*;
use world::{Step, World};

fn step(rude: bool) -> impl Strategy<Value = Step> {
    let side = 0..2_usize;
    let kind = prop_oneof![
        20 => (side.clone(), 1..40_usize).prop_map(|(side, bytes)| Step::Send { side, bytes }),
        4 => side.clone().prop_map(|side| Step::Close { side }),
        20 => (side.clone(), 1..30_usize).prop_map(|(side, most)| Step::Read { side, most }),
        20 => (side.clone(), 1..30_usize).prop_map(|(side, most)| Step::Take { side, most }),
        30 => side.clone().prop_map(|from| Step::Carry { from }),
        4 => Just(Step::Dialed),
        2 => side.clone().prop_map(|side| Step::PlainLost { side }),
        1 => Just(Step::SessionLost),
        1 => side.prop_map(|side| Step::Deadline { side }),
    ];
    kind.prop_filter("polite", move |step| {
        rude || !matches!(step, Step::PlainLost { .. } | Step::SessionLost | Step::Deadline { .. })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn everything_arrives_where_nobody_is_rude(steps in prop::collection::vec(step(false), 0..300)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.step(&Step::Close { side: 0 });
        world.step(&Step::Close { side: 1 });
        world.settle();
        for side in [0, 1] {
            prop_assert_eq!(&world.sides[side].program_got, &world.sent[1 - side]);
            prop_assert!(world.sides[side].program_got_end && !world.sides[side].program_was_reset);
            prop_assert_eq!(&world.sides[side].ended, &[End::Done]);
        }
    }

    /// Whatever happens: a prefix, then an end of file after all of it, or a reset; and both ends know.
    #[test]
    fn nobody_takes_a_part_for_the_whole(steps in prop::collection::vec(step(true), 0..300)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.conclude();
    }
}
