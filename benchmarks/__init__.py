"""Every figure that the README claims, one runnable script a claim."""
