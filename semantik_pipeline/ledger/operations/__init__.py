"""Operations: their lifecycle, their items, pausing and cancelling, outcomes, and reports for operators."""
