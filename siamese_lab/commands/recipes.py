"""`list` and `show`: the recipes that ship."""

from __future__ import annotations

import click

from siamese_lab.training.recipe_files import available, load_study, recipe_text


@click.command("list")
def list_recipes() -> None:
    """List the recipes that ship."""
    for name in available():
        study = load_study(name)
        runs = sum(len(recipe.seeds) for recipe in study.recipes)
        click.echo(f"{name:<28} {runs:>3} run{'s' if runs != 1 else ' '}  {study.title}")


@click.command("show")
@click.argument("recipe")
@click.option("--variant", default=None, help="One of a study's; without it, all are named.")
def show_recipe(recipe: str, variant: str | None) -> None:
    """Show RECIPE with every default written out."""
    study = load_study(recipe)
    if variant is None and len(study.recipes) > 1:
        click.echo(f"{study.name}: {study.title}\n{study.paper}\nvariants:")
        for one in study.recipes:
            click.echo(f"  {one.variant}")
        return
    click.echo(recipe_text(study.recipes[0] if variant is None else study.variant(variant)), nl=False)
