/* Before anything is drawn: the theme that was chosen, if it is not the system's. */
try {
    const theme = JSON.parse(localStorage.getItem('essaim.settings') ?? '{}').theme;
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
    /* no storage here: the system's theme it is */
}
