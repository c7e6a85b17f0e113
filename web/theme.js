/* Before anything is drawn: the theme that was chosen, or the system's. */
{
    let chosen;
    try {
        chosen = JSON.parse(localStorage.getItem('essaim.settings') ?? '{}').theme;
    } catch {
        /* no storage here: the system's theme it is */
    }
    const dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
}
