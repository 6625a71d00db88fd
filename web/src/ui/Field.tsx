/** A labelled input with its problem. */

import { type InputHTMLAttributes, useId } from "react";

interface Props extends InputHTMLAttributes<HTMLInputElement> {
  label: string;
  problem?: string | undefined;
}

export function Field({ label, problem, ...input }: Props) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} required aria-invalid={Boolean(problem)} aria-describedby={`${id}-problem`} {...input} />
      <p id={`${id}-problem`} className="problem" role={problem ? "alert" : undefined}>
        {problem}
      </p>
    </div>
  );
}
