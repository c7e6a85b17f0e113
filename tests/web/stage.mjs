/* Where all of it happens: the server (the restart puts another one here), the browser, the folder of the pictures. */
export const stage = {server: null, browser: null, shots: null};
