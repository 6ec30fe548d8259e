"""Operations: how they begin, go on, are held, and end; what they own, and what people ask about them."""
