"""From a sweep file to what it means: settings, problems, trials and stages. Runs nothing."""
