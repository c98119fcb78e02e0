"""The fleet's page: views are pure, routes are thin, templates hold no rule."""
